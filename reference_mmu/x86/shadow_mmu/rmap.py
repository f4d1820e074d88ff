# SPDX-License-Identifier: GPL-2.0-only
"""Reverse maps of the shadow MMU: from a gfn to the SPTEs that map it, and what is done through them (mmu.c).

Invariant, outside mmu_lock: a leaf SPTE is shadow-present if, and only if, it is in the rmap of the page it maps, once.
That holds for tables without a parent, too: they are in nobody's reach, but may be linked again as they are.

mmu_lock is held for write in everything below, so nobody else changes a chain; bits of SPTEs that hardware or
fast_page_fault() sets may change at every point. Only walks of whole ranges drop it, between two rmaps.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ...kvm.memslots import KvmMemorySlot
from ..hugepage import kvm_mmu_max_mapping_level
from ..machine import Machine
from ..page_table import KvmMmuPage, KvmRmapHead
from ..points import (
    AGE_SPTE,
    COLLAPSE_FLUSH_W,
    COLLAPSE_ZAP_W,
    GET_PROTECT,
    ITER_FLUSH,
    LOG_CLEAR_W,
    LOG_PROTECT_W,
    TRACK_PROTECT,
    ZAP_LEAF,
)
from ..resched import cond_resched_rwlock_write, rwlock_needbreak
from ..spte import (
    ACC_ALL,
    PAGE_SHIFT,
    PG_LEVEL_4K,
    PG_LEVEL_NUM,
    PT_WRITABLE_MASK,
    is_accessed_spte,
    mark_spte_for_access_track,
    spte_ad_enabled,
    spte_ad_need_write_protect,
)
from ..struct_page import mark_dirty_before_access_tracking, mark_write_protected
from .mmu_spte import mmu_spte_clear_accessed, mmu_spte_clear_track_bits, mmu_spte_update, mmu_spte_update_no_track
from .pte_list import RmapIterator, mmu_free_pte_list_desc, next_pte_list_desc, pte_list_add, pte_list_remove


def kvm_mmu_page_get_gfn(m: Machine, sp: KvmMmuPage, index: i64) -> i64:
    """The first gfn that entry `index` translates, of an indirect page the one it was made for."""
    if not sp.direct:
        return sp.shadowed_translation[index] >> PAGE_SHIFT
    return sp.gfn + index * m.pages_per_hpage(sp.level)


def kvm_mmu_page_get_access(sp: KvmMmuPage, index: i64) -> i64:
    """ACC_* that the guest's entries allow through leaf `index`, from the root down."""
    return sp.shadowed_translation[index] & ACC_ALL


def kvm_mmu_page_set_translation(sp: KvmMmuPage, index: i64, gfn: i64, access: i64) -> None:
    """Note what leaf `index` is made for. A direct page says that by its place."""
    if not sp.direct:
        sp.shadowed_translation[index] = gfn << PAGE_SHIFT | access


def gfn_to_rmap(m: Machine, gfn: i64, level: i64) -> KvmRmapHead | None:
    """The rmap of the page of `level` at gfn, None: nothing maps it."""
    return m.rmap.get(m.tlb_key(gfn, level))


def rmap_add(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    key = m.tlb_key(kvm_mmu_page_get_gfn(m, sp, index), sp.level)
    rmap_head = m.rmap.get(key)
    if rmap_head is None:
        rmap_head = KvmRmapHead()
        m.rmap[key] = rmap_head
    pte_list_add(rmap_head, sp, index)


def rmap_remove(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    key = m.tlb_key(kvm_mmu_page_get_gfn(m, sp, index), sp.level)
    rmap_head = m.rmap.get(key)
    if rmap_head is None:
        m.bug_on(True, "pte_list_remove: the rmap is empty")  # KVM_BUG_ON_DATA_CORRUPTION()
        return
    pte_list_remove(m, rmap_head, sp, index)
    if rmap_head.is_empty():
        del m.rmap[key]


def drop_spte(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    """Zap a leaf. The caller owes a flush, unless no vCPU can use the table any more."""
    if mmu_spte_clear_track_bits(m, sp, index):
        rmap_remove(m, sp, index)


def walk_slot_rmaps(m: Machine, start: i64, end: i64, min_level: i64, max_level: i64) -> list[tuple[i64, i64]]:
    """for_each_slot_rmap_range(): (gfn, level) of the rmaps whose pages overlap [start, end), smallest pages first."""
    rmaps: list[tuple[i64, i64]] = []
    for level in range(min_level, max_level + 1):
        gfn = m.gfn_round_for_level(start, level)
        while gfn < end:
            rmaps.append((gfn, i64(level)))
            gfn += m.pages_per_hpage(level)
    return rmaps


def yield_after_rmap(m: Machine, flush: bool) -> Generator[int, None, None]:
    """What __walk_slot_rmaps() does between two rmaps if somebody waits for mmu_lock: flush, unless the caller leaves
    that for later, and let others in."""
    if flush:
        yield from kvm_flush_remote_tlbs(m, ITER_FLUSH)
    yield from cond_resched_rwlock_write(m)


def slot_rmap_walk(m: Machine, start: i64, end: i64, min_level: i64, max_level: i64) -> list[KvmRmapHead]:
    """for_each_slot_rmap_range() by somebody who neither drops mmu_lock nor adds or removes SPTEs: the rmaps that have
    any, of these levels, whose pages overlap [start, end), smallest pages first."""
    heads: list[KvmRmapHead] = []
    for level in range(min_level, max_level + 1):
        gfn = m.gfn_round_for_level(start, level)
        while gfn < end:
            rmap_head = m.rmap.get(m.tlb_key(gfn, level))
            if rmap_head is not None:
                heads.append(rmap_head)
            gfn += m.pages_per_hpage(level)
    return heads


# --- zap -------------------------------------------------------------------------------------------------------


def kvm_rmap_zap_gfn_range(m: Machine, start: i64, end: i64, flush: bool) -> Generator[int, None, bool]:
    """Zap every SPTE that maps a page of [start, end), obsolete tables included. Returns whether the caller owes a
    flush: `flush`, or an SPTE was zapped since mmu_lock was last dropped. walk_slot_rmaps() is written out: every
    invalidation comes here."""
    for level in range(PG_LEVEL_4K, m.max_huge_level + 1):
        gfn = m.gfn_round_for_level(start, level)
        while gfn < end:
            rmap_head = m.rmap.get(m.tlb_key(gfn, level))
            if rmap_head is not None:
                yield from kvm_zap_all_rmap_sptes(m, rmap_head)
                del m.rmap[int(m.tlb_key(gfn, level))]
                flush = True
            if rwlock_needbreak(m, gfn):
                yield from yield_after_rmap(m, flush)
                flush = False
            gfn += m.pages_per_hpage(level)
    return flush


def kvm_zap_all_rmap_sptes(m: Machine, rmap_head: KvmRmapHead) -> Generator[int, None, None]:
    """Zap all SPTEs of a chain and free its descriptors. Afterwards the head means nothing."""
    sptep = rmap_head.sptep
    if sptep is not None:
        yield ZAP_LEAF
        mmu_spte_clear_track_bits(m, sptep[0], sptep[1])
        return
    desc = rmap_head.desc
    while desc is not None:
        for sp, index in desc.sptes:
            yield ZAP_LEAF
            mmu_spte_clear_track_bits(m, sp, index)
        following = next_pte_list_desc(m, desc)
        mmu_free_pte_list_desc(desc)
        desc = following


def kvm_rmap_zap_collapsible_sptes(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """Drop SPTEs that a huge page could replace now that the slot does not log; the next fault installs it."""
    need_tlb_flush = False
    # Those of the largest size are what is wanted.
    for gfn, level in walk_slot_rmaps(m, slot.base_gfn, slot.end_gfn(), PG_LEVEL_4K, m.max_huge_level - 1):
        zapped = yield from kvm_mmu_zap_collapsible_spte(m, gfn_to_rmap(m, gfn, level), slot)
        need_tlb_flush = need_tlb_flush or zapped
        if rwlock_needbreak(m, gfn):
            yield from yield_after_rmap(m, need_tlb_flush)
            need_tlb_flush = False
    if need_tlb_flush:
        yield from kvm_flush_remote_tlbs(m, COLLAPSE_FLUSH_W)


def kvm_mmu_zap_collapsible_spte(
    m: Machine, rmap_head: KvmRmapHead | None, slot: KvmMemorySlot
) -> Generator[int, None, bool]:
    """The same of one rmap. True: the caller owes a flush."""
    zapped = False
    it = RmapIterator(m, rmap_head)
    while it.more():
        sp = it.sp
        # An indirect page is as fine as the guest's table.
        if sp.direct and sp.level < kvm_mmu_max_mapping_level(m, slot, sp.gfn, PG_LEVEL_NUM):
            yield COLLAPSE_ZAP_W
            drop_spte(m, sp, it.index)
            zapped = True
            it.restart()
    return zapped


# --- aging -----------------------------------------------------------------------------------------------------


def kvm_rmap_age_gfn_range(m: Machine, start: i64, end: i64, test_only: bool) -> Generator[int, None, bool]:
    """Age, or look at, every accessed SPTE that maps a page of [start, end). True: one was young."""
    young = False
    for rmap_head in slot_rmap_walk(m, start, end, PG_LEVEL_4K, m.max_huge_level):
        it = RmapIterator(m, rmap_head)
        while it.more():
            m.count_visit()
            sp, index = it.sp, it.index
            spte = sp.spt[index]
            if not is_accessed_spte(m.masks, spte):
                continue
            if test_only:
                return True
            young = True
            yield AGE_SPTE
            if spte_ad_enabled(spte):
                mmu_spte_clear_accessed(m, sp, index)
                continue
            mark_dirty_before_access_tracking(m, spte)
            spte = mark_spte_for_access_track(m.masks, spte)
            if m.sem.fold_spte_update_no_track:
                # MMU_WRITABLE stays, so access tracking never needs a flush on the spot.
                m.warn_on(mmu_spte_update(m, sp, index, spte), "rmap_age: access tracking asks for a flush")
            else:
                mmu_spte_update_no_track(m, sp, index, spte)
    return young


# --- write protection and dirty logging ------------------------------------------------------------------------


def rmap_write_protect(m: Machine, gfn: i64, min_level: i64) -> Generator[int, None, bool]:
    """Take W and MMU_WRITABLE from whatever maps gfn at min_level or above. True if the caller must flush."""
    write_protected = False
    bits = PT_WRITABLE_MASK | m.masks.shadow_mmu_writable_mask
    for rmap_head in slot_rmap_walk(m, gfn, gfn + 1, min_level, m.max_huge_level):
        it = RmapIterator(m, rmap_head)
        while it.more():
            flush = yield from spte_write_protect(m, it.sp, it.index, bits, TRACK_PROTECT)
            write_protected = write_protected or flush
    return write_protected


def rmap_write_protect_slot(m: Machine, slot: KvmMemorySlot, min_level: i64) -> Generator[int, None, None]:
    """Take W from the whole slot, for dirty logging: whoever drops mmu_lock in between flushes later, at the end."""
    for gfn, level in walk_slot_rmaps(m, slot.base_gfn, slot.end_gfn(), min_level, m.max_huge_level):
        rmap_head = gfn_to_rmap(m, gfn, level)
        it = RmapIterator(m, rmap_head)
        while it.more():
            yield from spte_write_protect(m, it.sp, it.index, PT_WRITABLE_MASK, LOG_PROTECT_W)
        if rwlock_needbreak(m, gfn):
            yield from yield_after_rmap(m, False)


def kvm_mmu_write_protect_pt_masked(
    m: Machine, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
) -> Generator[int, None, None]:
    """Take W from the 4K SPTEs of the gfns gfn_offset + n of the slot, n in mask."""
    for bit in range(m.word_gfns):
        if (mask >> bit) & 1 != 0:
            it = RmapIterator(m, gfn_to_rmap(m, slot.base_gfn + gfn_offset + bit, PG_LEVEL_4K))
            while it.more():
                yield from spte_write_protect(m, it.sp, it.index, PT_WRITABLE_MASK, GET_PROTECT)


def rmap_clear_dirty_slot(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """Clear D in the whole slot. 4K only: one bit of the log stands for one 4K page, huge SPTEs lose W."""
    for gfn, level in walk_slot_rmaps(m, slot.base_gfn, slot.end_gfn(), PG_LEVEL_4K, PG_LEVEL_4K):
        rmap_head = gfn_to_rmap(m, gfn, level)
        it = RmapIterator(m, rmap_head)
        while it.more():
            yield from spte_clear_dirty(m, it.sp, it.index, LOG_CLEAR_W)
        if rwlock_needbreak(m, gfn):
            yield from yield_after_rmap(m, False)


def kvm_mmu_clear_dirty_pt_masked(
    m: Machine, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
) -> Generator[int, None, None]:
    """Clear D in the 4K SPTEs of the gfns gfn_offset + n of the slot, n in mask."""
    for bit in range(m.word_gfns):
        if (mask >> bit) & 1 != 0:
            it = RmapIterator(m, gfn_to_rmap(m, slot.base_gfn + gfn_offset + bit, PG_LEVEL_4K))
            while it.more():
                yield from spte_clear_dirty(m, it.sp, it.index, GET_PROTECT)


def spte_write_protect(m: Machine, sp: KvmMmuPage, index: i64, bits: i64, point: int) -> Generator[int, None, bool]:
    """Clear `bits`: W for dirty logging, which may give it back at any time; MMU_WRITABLE as well to protect a gfn
    (pt_protect). True if the change needs a flush."""
    spte = sp.spt[index]
    if (spte & bits) == 0:
        return False
    yield point
    return mmu_spte_update(m, sp, index, spte & ~bits)


def spte_clear_dirty(m: Machine, sp: KvmMmuPage, index: i64, point: int) -> Generator[int, None, None]:
    """Make the next write visible again: clear D, or W where hardware does not log D. Every caller flushes later,
    whatever the SPTE was."""
    spte = sp.spt[index]
    if not spte_ad_need_write_protect(spte):
        yield point
        mmu_spte_update(m, sp, index, spte & ~m.masks.shadow_dirty_mask)
        return
    # test_and_clear_bit()
    if (spte & PT_WRITABLE_MASK) != 0:
        yield point
        spte = sp.spt[index]
        sp.spt[index] = spte & ~PT_WRITABLE_MASK
        m.spte_changed(sp, index, spte, spte & ~PT_WRITABLE_MASK)
        mark_write_protected(m, spte)
