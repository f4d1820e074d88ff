# SPDX-License-Identifier: GPL-2.0-only
"""A page fault of a guest in PR mode, 64 bits (arch/powerpc/kvm/book3s_64_mmu_host.c).

Left out: the magic page; and of segments all but that one may not be mapped (MISHAP_NO_SEGMENT). A guest that does not
get its page faults again, for ever; here its access ends with an error.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import Faultin
from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_pfn_clean,
    kvm_release_pfn_dirty,
    kvm_set_pfn_accessed,
    kvm_set_pfn_dirty,
)
from ..kvm.vcpu import KvmVcpu
from ..observed import PF_EMULATE, PF_ERROR, PF_FIXED, PF_RETRY
from ..operations import MISHAP_NO_MEMORY, MISHAP_NO_SEGMENT
from ..stage2.fault import Fault
from ..stage2.faultin import gfn_to_pfn_of_fault, new_faultin
from .points import PR_GUP, PR_LOCK, PR_PUT, PR_SEQ
from .software_tlb import SoftwareTlb


def kvmppc_mmu_map_page(m: SoftwareTlb, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. SRCU held."""
    slot = m.gfn_to_memslot(fault.gfn)
    if slot is None or slot.invalid:
        return PF_EMULATE
    yield PR_SEQ
    mmu_seq = m.mmu_invalidate_seq
    yield PR_GUP
    out = new_faultin(m, fault)
    pfn = yield from kvmppc_gpa_to_pfn(m, slot, fault, out)
    if is_error_noslot_pfn(pfn):
        return PF_ERROR
    if m.failing(MISHAP_NO_SEGMENT):
        m.warn_on(True, "kvmppc_mmu_map_page: the segment is not mapped")
        return PF_ERROR  # with the reference that was taken
    if not m.sem.ppc_pr_dirty_accessed_after_pte:
        kvm_set_pfn_accessed(m, pfn)
    if out.writable:
        m.mark_page_dirty_in_slot(slot, fault.gfn)
        if not m.sem.ppc_pr_dirty_accessed_after_pte:
            kvm_set_pfn_dirty(m, pfn)
    cached = hpte_cache_next(m, fault)
    yield PR_LOCK
    m.write_lock()
    mapped = cached and not mmu_invalidate_retry(m, mmu_seq)
    if mapped:
        m.map_tlb(vcpu, fault.gfn, 1, pfn, out.writable)
    if m.sem.ppc_pr_faultin_pfn:
        # Used, whatever became of it: the kernel knows, and has not changed it.
        kvm_release_faultin_page(m, out.page, False, out.writable)
    elif m.sem.ppc_pr_dirty_accessed_after_pte:
        if out.writable:
            kvm_release_pfn_dirty(m, pfn)
        else:
            kvm_release_pfn_clean(m, pfn)
    m.write_unlock()
    if not m.sem.ppc_pr_dirty_accessed_after_pte:
        yield PR_PUT
        kvm_release_pfn_clean(m, pfn)
    return PF_FIXED if mapped else PF_RETRY


def kvmppc_gpa_to_pfn(m: SoftwareTlb, slot: KvmMemorySlot, fault: Fault, out: Faultin) -> Generator[int, None, i64]:
    """kvmppc_gpa_to_pfn(): the pfn, or KVM_PFN_*; since ppc-pr-faultin-pfn, the page, too."""
    return gfn_to_pfn_of_fault(m, slot, fault.gfn, fault, out, m.sem.ppc_pr_faultin_pfn)


def hpte_cache_next(m: SoftwareTlb, fault: Fault) -> bool:
    """kvmppc_mmu_hpte_cache_next(): is there memory for the record of a new entry? Of one access the first attempt
    fails; what the last fault's leaf was (`level`), which means nothing here, keeps that in mind."""
    if m.failing(MISHAP_NO_MEMORY) and fault.level == 0:
        fault.level = 1
        return False
    return True
