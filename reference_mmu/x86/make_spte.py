# SPDX-License-Identifier: GPL-2.0-only
"""make_spte() and what it is made of (arch/x86/kvm/mmu/spte.c)."""

from __future__ import annotations

from mypy_extensions import i64

from ..kvm.memslots import KvmMemorySlot
from ..kvm.release import kvm_set_pfn_dirty
from .machine import Machine
from .page_table import KvmMmuPage
from .shadow_mmu.unsync import mmu_try_to_unsync_pages
from .spte import (
    ACC_EXEC_MASK,
    ACC_USER_MASK,
    ACC_WRITE_MASK,
    PAGE_SHIFT,
    PG_LEVEL_4K,
    PT_PAGE_SIZE_MASK,
    PT_WRITABLE_MASK,
    SPTE_MMU_PRESENT_MASK,
    SPTE_TDP_AD_DISABLED,
    SPTE_TDP_AD_WRPROT_ONLY,
    is_last_spte,
    is_writable_pte,
    mark_spte_for_access_track,
    spte_shadow_accessed_mask,
    spte_shadow_dirty_mask,
)


def kvm_mmu_page_ad_need_write_protect(m: Machine, sp: KvmMmuPage) -> bool:
    """PML would log L2 addresses, so L2's tables track dirty pages by W."""
    return m.enable_pml and sp.guest_mode


def make_huge_page_split_spte(m: Machine, huge_spte: i64, child: KvmMmuPage, index: i64) -> i64:
    """The SPTE for piece `index` of a huge leaf: the same bits, A/D type and tracking state included."""
    child_spte = huge_spte
    pages = m.pages_per_hpage(child.level)
    child_spte += (index * pages) << PAGE_SHIFT
    if child.level == PG_LEVEL_4K:
        child_spte &= ~PT_PAGE_SIZE_MASK
    return child_spte


def make_spte(
    m: Machine,
    sp: KvmMmuPage,
    slot: KvmMemorySlot,
    pte_access: i64,
    gfn: i64,
    pfn: i64,
    old_spte: i64,
    prefetch: bool,
    synchronizing: bool,
    host_writable: bool,
) -> tuple[i64, bool]:
    """Compute a leaf SPTE for `gfn`; returns (new SPTE, wrprot): wrprot says that a wanted W was refused because the
    gfn is write-tracked or shadowed. Logs the gfn as dirty if the result is writable, before anyone stores it."""
    masks = m.masks
    sem = m.sem
    level = sp.level
    spte = SPTE_MMU_PRESENT_MASK
    wrprot = False

    if sp.ad_disabled:
        spte |= SPTE_TDP_AD_DISABLED
    elif kvm_mmu_page_ad_need_write_protect(m, sp):
        spte |= SPTE_TDP_AD_WRPROT_ONLY

    spte |= masks.shadow_present_mask
    if not prefetch or synchronizing:
        if sem.sw_accessed_when_ad_off:
            spte |= masks.shadow_accessed_mask
        else:
            spte |= spte_shadow_accessed_mask(masks, spte)

    if (pte_access & ACC_EXEC_MASK) != 0:
        spte |= masks.shadow_x_mask
    if (pte_access & ACC_USER_MASK) != 0:
        spte |= masks.shadow_user_mask
    if level > PG_LEVEL_4K:
        spte |= PT_PAGE_SIZE_MASK
    if host_writable:
        spte |= masks.shadow_host_writable_mask
    else:
        pte_access &= ~ACC_WRITE_MASK
    spte |= pfn << PAGE_SHIFT

    if (pte_access & ACC_WRITE_MASK) != 0:
        spte, wrprot = make_spte_writable(m, spte, level, slot, gfn, old_spte, prefetch, synchronizing)

    if prefetch and not synchronizing:
        spte = mark_spte_for_access_track(masks, spte)

    # Between the two commits: it need not be known whether the guest writes, and the SPTE may yet lose a race.
    if host_writable and sem.x86_dirty_at_spte_creation and not sem.x86_dirty_at_origin_of_make_spte:
        kvm_set_pfn_dirty(m, pfn)

    if is_writable_pte(spte) and slot.kvm_slot_dirty_track_enabled():
        # hugepage_adjust() forces 4K while the slot logs: one bit stands for one page.
        m.warn_on(level > PG_LEVEL_4K, "make_spte: writable huge SPTE in a logging slot")
        m.mark_page_dirty_in_slot(slot, gfn)
    return spte, wrprot


def make_spte_writable(
    m: Machine,
    spte: i64,
    level: i64,
    slot: KvmMemorySlot,
    gfn: i64,
    old_spte: i64,
    prefetch: bool,
    synchronizing: bool,
) -> tuple[i64, bool]:
    """The writable half of make_spte(), in the kernel a block of that function: returns (SPTE, wrprot).

    Unsyncing is skipped when the old leaf was writable: whoever made it so did the work, and write-tracking cannot
    have come in between without clearing W under mmu_lock held for write.
    """
    masks = m.masks
    sem = m.sem
    writable = PT_WRITABLE_MASK | masks.shadow_mmu_writable_mask
    if sem.sw_dirty_when_ad_off:
        dirty = masks.shadow_dirty_mask
    else:
        dirty = spte_shadow_dirty_mask(masks, spte)
    was_writable = is_last_spte(old_spte, level) and is_writable_pte(old_spte)

    if sem.fold_make_spte_writable:
        if not was_writable and mmu_try_to_unsync_pages(m, gfn, synchronizing, prefetch):
            return spte, True
        return spte | writable | dirty, False

    spte |= writable
    if was_writable:
        if sem.always_dirty_if_writable:
            return spte | dirty, False
        return spte, False  # jumps over D, too: the loser of two racing write faults drops the winner's D
    if mmu_try_to_unsync_pages(m, gfn, synchronizing, prefetch):
        return spte & ~writable, True
    return spte | dirty, False
