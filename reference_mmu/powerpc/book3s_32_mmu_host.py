# SPDX-License-Identifier: GPL-2.0-only
"""A page fault of a guest in PR mode, 32 bits (arch/powerpc/kvm/book3s_32_mmu_host.c).

It neither takes mmu_lock nor looks whether the page is stale: an invalidation between look-up and insertion is missed.
CONFIG_SMP is refused, but not CONFIG_PREEMPTION. An entry is inserted before there is a record of it; without memory
for one, it stays, and no invalidation finds it.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.release import kvm_release_page_clean, kvm_release_page_unused, kvm_release_pfn_clean
from ..kvm.vcpu import KvmVcpu
from ..observed import PF_EMULATE, PF_ERROR, PF_FIXED, PF_RETRY
from ..stage2.fault import Fault
from ..stage2.faultin import new_faultin
from .book3s_64_mmu_host import hpte_cache_next, kvmppc_gpa_to_pfn
from .points import PR32_GUP, PR32_INSERT, PR32_PUT
from .software_tlb import SoftwareTlb


def kvmppc_mmu_map_page(
    m: SoftwareTlb, vcpu: KvmVcpu, fault: Fault, unlisted: list[tuple[int, int]]
) -> Generator[int, None, i64]:
    """Returns PF_*. SRCU held."""
    slot = m.gfn_to_memslot(fault.gfn)
    if slot is None or slot.invalid:
        return PF_EMULATE
    yield PR32_GUP
    out = new_faultin(m, fault)
    pfn = yield from kvmppc_gpa_to_pfn(m, slot, fault, out)
    if is_error_noslot_pfn(pfn):
        return PF_ERROR
    if out.writable:
        m.mark_page_dirty_in_slot(slot, fault.gfn)
    yield PR32_INSERT
    m.map_tlb(vcpu, fault.gfn, 1, pfn, out.writable)
    listed = hpte_cache_next(m, fault)
    entry = (int(vcpu.number), int(fault.gfn))
    if not listed:
        unlisted.append(entry)
    elif entry in unlisted:
        unlisted.remove(entry)
    yield PR32_PUT
    if not m.sem.ppc_pr_faultin_pfn:
        kvm_release_pfn_clean(m, pfn)
    elif listed:
        kvm_release_page_clean(m, out.page)
    else:
        kvm_release_page_unused(m, out.page)
    return PF_FIXED if listed else PF_RETRY
