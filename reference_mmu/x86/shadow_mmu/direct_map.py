# SPDX-License-Identifier: GPL-2.0-only
"""The shadow MMU as a direct MMU (tdp_mmu=N): how a fault installs its mapping and those next to it (mmu.c).

mmu_lock is held for write from the stale check to the end, so nobody else changes a page table; vCPUs go on walking
them, hardware sets A and D, and fast_page_fault() may give W back.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ...kvm.memslots import KvmMemorySlot
from ...kvm.prefetch import prefetch_pages
from ...kvm.release import kvm_release_page_clean, kvm_release_page_dirty, kvm_release_page_unused
from ..hugepage import kvm_mmu_hugepage_adjust
from ..machine import Machine
from ..make_spte import make_spte
from ..page_fault import KvmPageFault
from ..page_table import KvmMmuPage
from ..points import PREFETCH_NEXT, SHADOW_FLUSH, SHADOW_SET
from ..ret_pf import RET_PF_FIXED, RET_PF_SPURIOUS, RET_PF_WRITE_PROTECTED
from ..spte import (
    ACC_ALL,
    ACC_WRITE_MASK,
    PG_LEVEL_4K,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    spte_to_pfn,
)
from ..vcpu_arch import Vcpu
from .mmu_spte import mmu_spte_update
from .rmap import drop_spte, kvm_mmu_page_get_gfn, kvm_mmu_page_set_translation, rmap_add
from .shadow_page import drop_parent_pte, kvm_mmu_get_shadow_page, link_shadow_page

PTE_PREFETCH_NUM: Final[i64] = 8


def direct_map(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """Install the mapping: walk down, adding the tables that are missing. Returns RET_PF_*."""
    kvm_mmu_hugepage_adjust(m, fault)
    slot = fault.slot
    sp = vcpu.root
    assert slot is not None
    assert sp is not None
    index = m.spte_index(fault.gfn, sp.level)
    while sp.level > fault.goal_level:
        spte = sp.spt[index]
        if is_shadow_present_pte(spte) and not is_last_spte(spte, sp.level):
            child = m.page_tables[spte_to_pfn(spte)]
        else:
            child = kvm_mmu_get_shadow_page(m, m.gfn_round_for_level(fault.gfn, sp.level), sp.level - 1)
            yield from link_shadow_page(m, sp, index, child)
        sp = child
        index = m.spte_index(fault.gfn, sp.level)
    base_gfn = m.gfn_round_for_level(fault.gfn, sp.level)
    ret = yield from mmu_set_spte(m, slot, sp, index, ACC_ALL, base_gfn, fault.pfn, fault)
    if ret != RET_PF_SPURIOUS:
        yield from direct_pte_prefetch(m, sp, index)
    return ret


def mmu_set_spte(
    m: Machine,
    slot: KvmMemorySlot,
    sp: KvmMmuPage,
    index: i64,
    pte_access: i64,
    gfn: i64,
    pfn: i64,
    fault: KvmPageFault | None,
) -> Generator[int, None, int]:
    """Let entry `index` map gfn, which is at `pfn`. Without a fault: a prefetch, of a writable page."""
    host_writable = fault is None or fault.map_writable
    prefetch = fault is None or fault.prefetch
    write_fault = fault is not None and fault.write
    ret = RET_PF_FIXED
    was_rmapped = False
    flush = False

    old_spte = sp.spt[index]
    if is_shadow_present_pte(old_spte):
        # A prefetch must not take away what a real fault has installed.
        if prefetch:
            return RET_PF_SPURIOUS
        if not is_last_spte(old_spte, sp.level):
            yield SHADOW_SET
            drop_parent_pte(m, m.page_tables[spte_to_pfn(old_spte)], sp, index)
            flush = True
        elif spte_to_pfn(old_spte) != pfn:
            yield SHADOW_SET
            drop_spte(m, sp, index)
            flush = True
        else:
            was_rmapped = True

    spte, wrprot = make_spte(m, sp, slot, pte_access, gfn, pfn, sp.spt[index], prefetch, False, host_writable)
    if fault is not None:
        fault.read_only = not is_mmu_writable_spte(m.masks, spte)
    if sp.spt[index] == spte:
        ret = RET_PF_SPURIOUS
    else:
        yield SHADOW_SET
        if mmu_spte_update(m, sp, index, spte):
            flush = True

    # A write that the SPTE does not allow would fault for ever: emulate it.
    if wrprot and write_fault:
        ret = RET_PF_WRITE_PROTECTED
    if flush:
        yield from kvm_flush_remote_tlbs(m, SHADOW_FLUSH)
    # Mapped already, the access may have changed.
    kvm_mmu_page_set_translation(sp, index, gfn, pte_access)
    if not was_rmapped:
        m.warn_on(ret == RET_PF_SPURIOUS, "mmu_set_spte: new mapping is spurious")
        rmap_add(m, sp, index)
    return ret


def direct_pte_prefetch(m: Machine, sp: KvmMmuPage, index: i64) -> Generator[int, None, None]:
    """Map the neighbours of entry `index` as well, as far as that costs nothing."""
    # Without A bits a prefetched SPTE would look like one the guest uses.
    if sp.ad_disabled or sp.level > PG_LEVEL_4K:
        return
    # The range of an invalidation is a hull, the neighbours may lie in it: the fault was checked, they were not.
    if m.mmu_invalidate_in_progress > 0:
        return

    window = min(PTE_PREFETCH_NUM, m.entries)
    first = index & ~(window - 1)
    start: i64 = -1  # of the run of missing neighbours, -1: none yet
    for i in range(first, first + window):
        if i != index and not is_shadow_present_pte(sp.spt[i]):
            if start < 0:
                start = i
            continue
        if start >= 0:
            mapped = yield from kvm_mmu_prefetch_sptes(
                m, kvm_mmu_page_get_gfn(m, sp, start), sp, start, i - start, ACC_ALL
            )
            if not mapped:
                return
            start = -1
    if start >= 0:
        gfn = kvm_mmu_page_get_gfn(m, sp, start)
        yield from kvm_mmu_prefetch_sptes(m, gfn, sp, start, first + window - start, ACC_ALL)


def kvm_mmu_prefetch_sptes(
    m: Machine, gfn: i64, sp: KvmMmuPage, index: i64, nr_pages: i64, access: i64
) -> Generator[int, None, bool]:
    """Map entries [index, index + nr_pages) to the gfns from `gfn` on. False if not one of them could be mapped: then
    leave the rest, too. Before x86-common-prefetch-helper this is direct_pte_prefetch_many(), of direct pages alone."""
    yield PREFETCH_NEXT
    if m.warn_on(nr_pages > PTE_PREFETCH_NUM, "kvm_mmu_prefetch_sptes: more than a window"):
        return False
    slot = gfn_to_memslot_dirty_bitmap(m, gfn, (access & ACC_WRITE_MASK) != 0)
    if slot is None:
        return False
    pages = prefetch_pages(m, slot, gfn, nr_pages)
    for pfn in pages:
        yield from mmu_set_spte(m, slot, sp, index, access, gfn, pfn, None)
        release_prefetched_page(m, pfn)
        index += 1
        gfn += 1
    return bool(pages)


def release_prefetched_page(m: Machine, pfn: i64) -> None:
    """The SPTE is writable and it is not known whether the guest will use it, so the page counts as written since
    make_spte() marks it no longer. At first it was not even marked accessed, as that of an indirect page was."""
    if m.sem.x86_dirty_at_origin_of_make_spte:
        kvm_release_page_dirty(m, pfn)
    elif m.sem.x86_direct_prefetch_release_clean:
        kvm_release_page_clean(m, pfn)
    else:
        kvm_release_page_unused(m, pfn)  # put_page()


def gfn_to_memslot_dirty_bitmap(m: Machine, gfn: i64, no_dirty_log: bool) -> KvmMemorySlot | None:
    """The slot; none that logs if the prefetched SPTE is to be writable: it would report a page nobody wrote."""
    slot = m.gfn_to_memslot(gfn)
    if slot is None or slot.invalid:
        return None
    if no_dirty_log and slot.kvm_slot_dirty_track_enabled():
        return None
    return slot
