# SPDX-License-Identifier: GPL-2.0-only
"""How SPTEs of the shadow MMU are written, and which changes of a leaf need a remote flush (mmu_spte_*() in mmu.c).

mmu_lock is held for write: only hardware, which sets A and D, and fast_page_fault() store beside KVM.  The kernel
therefore takes xchg where spte_has_volatile_bits() and a plain store elsewhere.  Between two points of a flow nothing
moves, so here both read the very value they replace; what a caller has read before its own point may be out of date.
"""

from __future__ import annotations

from mypy_extensions import i64

from ..machine import Machine
from ..page_table import KvmMmuPage
from ..spte import (
    SHADOW_NONPRESENT_VALUE,
    SpteMasks,
    is_accessed_spte,
    is_dirty_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    is_writable_pte,
    leaf_spte_change_needs_tlb_flush,
    spte_to_pfn,
)
from ..struct_page import mark_changed_leaf, mark_zapped_rmapped_leaf


def mmu_spte_set(m: Machine, sp: KvmMmuPage, index: i64, new_spte: i64) -> None:
    """Non-present to present; nothing can be cached, so nothing needs a flush."""
    old_spte = sp.spt[index]
    m.warn_on(is_shadow_present_pte(old_spte), "mmu_spte_set: SPTE is present already")
    sp.spt[index] = new_spte
    m.spte_changed(sp, index, old_spte, new_spte)


def mmu_spte_update_no_track(m: Machine, sp: KvmMmuPage, index: i64, new_spte: i64) -> i64:
    """Store a leaf of the same pfn, return the value it replaces. No verdict: aging calls it as it is, until
    fold-spte-update-no-track makes it a part of mmu_spte_update()."""
    old_spte = sp.spt[index]
    m.warn_on(not is_shadow_present_pte(new_spte), "mmu_spte_update: new SPTE is not present")
    if not is_shadow_present_pte(old_spte):
        mmu_spte_set(m, sp, index, new_spte)
        return old_spte
    sp.spt[index] = new_spte
    m.spte_changed(sp, index, old_spte, new_spte)
    m.warn_on(spte_to_pfn(old_spte) != spte_to_pfn(new_spte), "mmu_spte_update: leaf changed its pfn")
    return old_spte


def mmu_spte_update(m: Machine, sp: KvmMmuPage, index: i64, new_spte: i64) -> bool:
    """Store a leaf of the same pfn, or one where there was none; True if remote TLBs need a flush before mmu_lock is
    released. Dirty logging ignores that: its own flush comes later."""
    old_spte = mmu_spte_update_no_track(m, sp, index, new_spte)
    if not is_shadow_present_pte(old_spte):
        return False
    mark_changed_leaf(m, old_spte, new_spte)
    return mmu_spte_update_needs_flush(m.masks, old_spte, new_spte)


def mmu_spte_update_needs_flush(masks: SpteMasks, old_spte: i64, new_spte: i64) -> bool:
    """The verdict of mmu_spte_update() on two shadow-present leaves of one pfn."""
    sem = masks.sem
    if sem.dedup_leaf_flush_rule:
        return leaf_spte_change_needs_tlb_flush(masks, old_spte, new_spte)

    flush = False
    # Whoever finds the SPTE not MMU_WRITABLE takes that as proof that no CPU can write: see
    # leaf_spte_change_needs_tlb_flush(). One that is only read-only may be made writable at any time.
    if is_mmu_writable_spte(masks, old_spte):
        if sem.flush_iff_mmuw_cleared:
            flush = not is_mmu_writable_spte(masks, new_spte)
        else:
            flush = not is_writable_pte(new_spte)
    # TLBs and SPTE should agree on A and D: too careful, a stale A only makes a page look old, and enabling and
    # harvesting the dirty log flush by themselves.
    if not sem.no_flush_on_clear_accessed:
        flush = flush or (is_accessed_spte(masks, old_spte) and not is_accessed_spte(masks, new_spte))
    if not sem.shadow_no_flush_on_clear_dirty:
        flush = flush or (is_dirty_spte(masks, old_spte) and not is_dirty_spte(masks, new_spte))
    return flush


def mmu_spte_clear_accessed(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    """clear_bit(): atomic whether or not the SPTE has volatile bits, so D and W set meanwhile survive."""
    old_spte = sp.spt[index]
    new_spte = old_spte & ~m.masks.shadow_accessed_mask
    sp.spt[index] = new_spte
    m.spte_changed(sp, index, old_spte, new_spte)


def mmu_spte_clear_track_bits(m: Machine, sp: KvmMmuPage, index: i64) -> bool:
    """Present to non-present. True if it was present: then the caller owes a flush."""
    old_spte = sp.spt[index]
    if not is_shadow_present_pte(old_spte):
        return False
    mmu_spte_clear_no_track(m, sp, index)
    mark_zapped_rmapped_leaf(m, old_spte)
    return True


def mmu_spte_clear_no_track(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    """The same for an entry that points to a page table."""
    old_spte = sp.spt[index]
    sp.spt[index] = SHADOW_NONPRESENT_VALUE
    m.spte_changed(sp, index, old_spte, SHADOW_NONPRESENT_VALUE)
