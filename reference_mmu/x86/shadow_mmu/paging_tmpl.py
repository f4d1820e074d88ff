# SPDX-License-Identifier: GPL-2.0-only
"""The page fault of an indirect MMU: guest page tables behind shadow pages (paging_tmpl.h, FNAME() left out).

walk_addr()              the guest's tables as they are now, without a lock; what they forbid is the guest's fault
kvm_mmu_faultin_pfn()    as for a direct MMU; there is no fast_page_fault()
mmu_lock                 for write
is_page_fault_stale()
fetch()                  shadow pages for the tables on the way; each guest entry is read again once its table is
                         write-protected or unsync, and if it has changed the guest tries again
"""

from __future__ import annotations

from collections.abc import Generator

from librt.vecs import vec
from mypy_extensions import i64

from ...kvm.faultin import gfn_to_pfn_memslot_atomic
from ...kvm.pfn import is_error_pfn
from ...kvm.prefetch import prefetch_pages
from ...kvm.release import kvm_release_page_clean, kvm_release_pfn_clean
from ..fault import is_page_fault_stale, kvm_mmu_faultin_pfn, kvm_mmu_finish_page_fault, page_fault_handle_page_track
from ..hugepage import kvm_mmu_hugepage_adjust
from ..machine import Machine
from ..page_fault import KvmPageFault
from ..page_table import KvmMmuPage
from ..points import FAULT_LOCK_W, FAULT_RELEASE, FAULT_SEQ, PLACEBO_FAULT, PREFETCH_NEXT
from ..ret_pf import RET_PF_CONTINUE, RET_PF_RETRY, RET_PF_SPURIOUS, RET_PF_WRITE_PROTECTED
from ..spte import ACC_WRITE_MASK, PG_LEVEL_4K, is_shadow_present_pte, spte_to_pfn
from ..vcpu_arch import Vcpu
from .direct_map import (
    PTE_PREFETCH_NUM,
    gfn_to_memslot_dirty_bitmap,
    kvm_mmu_prefetch_sptes,
    mmu_set_spte,
)
from .gpte import GPTE_UNREADABLE, gpte_access, gpte_to_gfn
from .guest_walk import GuestWalker, walk_addr
from .indirect_page import kvm_mmu_get_child_sp
from .read_gpte import kvm_vcpu_read_guest_atomic, protect_clean_gpte
from .shadow_page import link_shadow_page
from .sync import kvm_inject_emulated_page_fault, mmu_sync_children, prefetch_invalid_gpte
from .track_write import shadow_page_table_clear_flood


def page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """Resolve a fault of an indirect MMU; returns RET_PF_*. SRCU held."""
    walker = yield from walk_addr(m, vcpu, fault.addr, fault.write)
    if walker is None:
        if not fault.prefetch:
            fault.injected = True
            yield from kvm_inject_emulated_page_fault(m, vcpu, fault.addr)
        return RET_PF_RETRY

    fault.gfn = walker.gfn
    fault.max_level = PG_LEVEL_4K
    fault.slot = m.gfn_to_memslot(fault.gfn)
    if page_fault_handle_page_track(m, fault):
        shadow_page_table_clear_flood(m, vcpu, fault.addr)
        return RET_PF_WRITE_PROTECTED

    # mmu_topup_memory_caches() may sleep.
    yield FAULT_SEQ
    r = yield from kvm_mmu_faultin_pfn(m, fault)
    if r != RET_PF_CONTINUE:
        return r
    if m.sem.placebo_points:
        yield PLACEBO_FAULT

    yield FAULT_LOCK_W
    m.write_lock()
    r = RET_PF_RETRY
    if not is_page_fault_stale(m, vcpu, fault):
        r = yield from fetch(m, vcpu, fault, walker)
    if m.sem.x86_finish_page_fault_helper:
        kvm_mmu_finish_page_fault(m, fault, r)
    m.write_unlock()
    if not m.sem.x86_finish_page_fault_helper:
        yield FAULT_RELEASE
        kvm_mmu_finish_page_fault(m, fault, r)
    return r


def gpte_changed(m: Machine, walker: GuestWalker, addr: i64, level: i64) -> bool:
    """Is the guest's entry of `level` another than the walk saw, or out of reach? At 4K the neighbours are read along,
    for the prefetch."""
    index = m.spte_index(addr, level)
    table_gfn = walker.table_gfn[level]
    gpte = kvm_vcpu_read_guest_atomic(m, table_gfn, index)
    if gpte == GPTE_UNREADABLE:
        return True
    if level == PG_LEVEL_4K:
        window = min(PTE_PREFETCH_NUM, m.entries)
        first = index & ~(window - 1)
        walker.prefetch_ptes = vec[i64]([0] * window)
        for i in range(window):
            walker.prefetch_ptes[i] = kvm_vcpu_read_guest_atomic(m, table_gfn, first + i)
    return gpte != walker.ptes[level]


def fetch(m: Machine, vcpu: Vcpu, fault: KvmPageFault, walker: GuestWalker) -> Generator[int, None, int]:
    """Install the mapping. mmu_lock held for write."""
    slot = fault.slot
    sp = vcpu.root
    assert slot is not None
    assert sp is not None
    m.oracle.guest_walk_taken(m)
    # The root is shadowed already, so its entry cannot change any more.
    if gpte_changed(m, walker, fault.addr, m.levels):
        return RET_PF_RETRY
    # CR3 has come to point to memory after the dummy was loaded.
    if sp is m.dummy_root:
        vcpu.free_obsolete_roots = True
        return RET_PF_RETRY

    while sp.level > PG_LEVEL_4K:
        index = m.spte_index(fault.addr, sp.level)
        sp.write_flooding_count = 0
        table_gfn = walker.table_gfn[sp.level - 1]
        child = yield from kvm_mmu_get_child_sp(m, sp, index, table_gfn, walker.pt_access[sp.level - 1])
        # Before it is linked: a change from non-present to present needs no flush by the guest. A 4K table was
        # synchronized when it was found.
        if child is not None and child.unsync_children:
            r = yield from mmu_sync_children(m, vcpu, child, False)
            if r != 0:
                return RET_PF_RETRY
        # The table is write-protected or unsync by now, mmu_lock keeps its SPTEs. Another vCPU may have linked a page
        # whose entries are not those of our walk, so ask in that case, too.
        if gpte_changed(m, walker, fault.addr, sp.level - 1):
            return RET_PF_RETRY
        if child is not None:
            yield from link_shadow_page(m, sp, index, child)
        sp = m.page_tables[spte_to_pfn(sp.spt[index])]
    sp.write_flooding_count = 0

    kvm_mmu_hugepage_adjust(m, fault)
    index = m.spte_index(fault.addr, PG_LEVEL_4K)
    ret = yield from mmu_set_spte(m, slot, sp, index, walker.pte_access, fault.gfn, fault.pfn, fault)
    if ret != RET_PF_SPURIOUS:
        yield from pte_prefetch(m, walker, sp, index)
    return ret


def pte_prefetch(m: Machine, walker: GuestWalker, sp: KvmMmuPage, index: i64) -> Generator[int, None, None]:
    """Map the neighbours of entry `index` that the guest has used. Without A bits, too: they are born
    access-tracked."""
    if m.mmu_invalidate_in_progress > 0:
        return
    window = len(walker.prefetch_ptes)
    first = index & ~(window - 1)
    for i in range(window):
        if first + i == index or is_shadow_present_pte(sp.spt[first + i]):
            continue
        mapped = yield from prefetch_gpte(m, sp, first + i, walker.prefetch_ptes[i])
        if not mapped:
            return


def prefetch_gpte(m: Machine, sp: KvmMmuPage, index: i64, gpte: i64) -> Generator[int, None, bool]:
    if gpte == GPTE_UNREADABLE or prefetch_invalid_gpte(m, gpte):
        return False
    pte_access = protect_clean_gpte(m, sp.access & gpte_access(gpte), gpte)
    if m.sem.x86_common_prefetch_helper:
        return (yield from kvm_mmu_prefetch_sptes(m, gpte_to_gfn(gpte), sp, index, 1, pte_access))
    return (yield from prefetch_indirect_spte(m, sp, index, gpte_to_gfn(gpte), pte_access))


def prefetch_indirect_spte(
    m: Machine, sp: KvmMmuPage, index: i64, gfn: i64, pte_access: i64
) -> Generator[int, None, bool]:
    """The rest of prefetch_gpte() before x86-common-prefetch-helper."""
    yield PREFETCH_NEXT
    slot = gfn_to_memslot_dirty_bitmap(m, gfn, (pte_access & ACC_WRITE_MASK) != 0)
    if slot is None:
        return False
    if not m.sem.x86_indirect_prefetch_via_page_api:
        pfn = yield from gfn_to_pfn_memslot_atomic(m, slot, gfn)
        if is_error_pfn(pfn):
            return False
        yield from mmu_set_spte(m, slot, sp, index, pte_access, gfn, pfn, None)
        kvm_release_pfn_clean(m, pfn)
        return True
    pages = prefetch_pages(m, slot, gfn, 1)
    if not pages:
        return False
    yield from mmu_set_spte(m, slot, sp, index, pte_access, gfn, pages[0], None)
    kvm_release_page_clean(m, pages[0])
    return True
