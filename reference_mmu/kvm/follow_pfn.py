# SPDX-License-Identifier: GPL-2.0-only
"""hva_to_pfn(): the host page behind an address (virt/kvm/kvm_main.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..mm.gup import faultin_page, gup_fast
from ..mm.host import HOST_W
from .kvm import Kvm


def hva_to_pfn(kvm: Kvm, hva: i64, write: bool, upgrade_fails: bool) -> Generator[int, None, tuple[i64, bool]]:
    """Returns (pfn, map_writable) with a reference held.

    Reads, too, first ask for a writable page without sleeping; if that fails they take what the slow path gives and
    try once more to upgrade it. `upgrade_fails` makes both attempts of a read fail, as they may at any time.
    """
    if (write or not upgrade_fails) and gup_fast(kvm, hva, True):
        return kvm.host.pte[hva], True
    yield from faultin_page(kvm, hva, write)
    pfn = kvm.host.pte[hva]
    kvm.host.get(pfn)
    if write:
        return pfn, True
    writable = not upgrade_fails and (kvm.host.flags[hva] & HOST_W) != 0
    return pfn, writable
