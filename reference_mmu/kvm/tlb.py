# SPDX-License-Identifier: GPL-2.0-only
"""Looking into what a CPU has cached, and dropping it (Intel SDM vol. 3, "Caching Translation Information").

The rules T1 to T8 that this follows stand in x86/tlb.py; other architectures' caches differ in what they may hold, and
not in how an entry is found.
"""

from __future__ import annotations

from mypy_extensions import i64

from .kvm import Kvm
from .vcpu import TLB_PFN_SHIFT, KvmVcpu


def invalidate(kvm: Kvm, vcpu: KvmVcpu, gfn: i64) -> None:
    """T5, T6: drop the entries used to translate `gfn`."""
    for level in range(1, kvm.levels + 1):
        vcpu.tlb.drop(kvm.tlb_key(gfn, level))
        vcpu.structure_cache.drop(kvm.table_key(gfn, level))


def lookup(kvm: Kvm, vcpu: KvmVcpu, gfn: i64) -> i64:
    """The entry the CPU would use, its pfn moved to that of `gfn` itself; smallest page first, 0: none."""
    if vcpu.tlb.n != 0:
        for level in range(1, kvm.levels + 1):
            entry = vcpu.tlb.get(kvm.tlb_key(gfn, level))
            if entry >= 0:
                return entry + ((gfn & (kvm.pages_per_hpage(level) - 1)) << TLB_PFN_SHIFT)
    return 0
