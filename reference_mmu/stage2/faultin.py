# SPDX-License-Identifier: GPL-2.0-only
"""How exit handlers ask for the page of a fault, before and since the commit that has each use kvm_faultin_pfn()."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import Faultin, gfn_to_pfn_prot, kvm_faultin_pfn
from ..kvm.memslots import KvmMemorySlot
from ..mm.gup import FOLL_WRITE
from ..operations import MISHAP_GARBAGE
from .fault import Fault
from .machine import Stage2Machine


def new_faultin(m: Stage2Machine, fault: Fault) -> Faultin:
    """The variables of a handler that does not set its `writable`."""
    return Faultin(m.failing(MISHAP_GARBAGE), fault.upgrade_fails)


def gfn_to_pfn_of_fault(
    m: Stage2Machine, slot: KvmMemorySlot | None, gfn: i64, fault: Fault, out: Faultin, faultin: bool
) -> Generator[int, None, i64]:
    """The pfn, or KVM_PFN_*; what was taken, and whether it may be written, is in `out`. `faultin`: the handler's
    commit is in."""
    if faultin:
        return kvm_faultin_pfn(m, slot, gfn, FOLL_WRITE if fault.write else 0, out)
    return gfn_to_pfn_prot(m, slot, gfn, fault.write, out)
