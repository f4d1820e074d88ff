# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of the A and D bits of SPTEs when they change: marks on struct page (mmu.c, tdp_mmu.c).

In v6.12 SPTEs were where KVM kept what it knew: a page was marked dirty or accessed when an SPTE lost its D or A bit.
That came to an end in three steps, and now a page is marked once, by the fault that maps it:

    x86-dirty-at-spte-creation         dirty when the SPTE is made, by make_spte()
    x86-accessed-at-leaf-zap-only      accessed when a leaf is zapped, no longer when it is changed
    zap-does-not-mark-page-accessed    not even then

mmu_lock is held; of the TDP MMU perhaps for read.
"""

from __future__ import annotations

from mypy_extensions import i64

from ..kvm.pfn import NO_PAGE
from ..kvm.release import kvm_pfn_to_refcounted_page, kvm_set_pfn_accessed, kvm_set_pfn_dirty
from .machine import Machine
from .spte import (
    is_accessed_spte,
    is_dirty_spte,
    is_shadow_present_pte,
    is_writable_pte,
    spte_ad_enabled,
    spte_to_pfn,
)


def mark_changed_leaf(m: Machine, old_spte: i64, new_spte: i64) -> None:
    """A leaf became another value: mmu_spte_update(), and handle_changed_spte() whatever the new value is."""
    sem = m.sem
    if sem.x86_dirty_at_spte_creation and sem.x86_accessed_at_leaf_zap_only:
        return
    masks = m.masks
    same_page = is_shadow_present_pte(new_spte) and spte_to_pfn(new_spte) == spte_to_pfn(old_spte)
    lost_dirty = is_dirty_spte(masks, old_spte) and not (same_page and is_dirty_spte(masks, new_spte))
    lost_accessed = is_accessed_spte(masks, old_spte) and not (same_page and is_accessed_spte(masks, new_spte))
    if lost_dirty and not sem.x86_dirty_at_spte_creation:
        kvm_set_pfn_dirty(m, spte_to_pfn(old_spte))
    if lost_accessed and not sem.x86_accessed_at_leaf_zap_only:
        kvm_set_pfn_accessed(m, spte_to_pfn(old_spte))


def mark_zapped_rmapped_leaf(m: Machine, old_spte: i64) -> None:
    """A leaf of the shadow MMU is gone: mmu_spte_clear_track_bits()."""
    sem = m.sem
    if not sem.zap_does_not_mark_page_accessed:
        page = kvm_pfn_to_refcounted_page(m, spte_to_pfn(old_spte))
        m.warn_on(page != NO_PAGE and m.host.folio(page).refcount == 0, "mmu_spte_clear_track_bits: page is free")
        if is_accessed_spte(m.masks, old_spte):
            kvm_set_pfn_accessed(m, spte_to_pfn(old_spte))
    if not sem.x86_dirty_at_spte_creation and is_dirty_spte(m.masks, old_spte):
        kvm_set_pfn_dirty(m, spte_to_pfn(old_spte))


def mark_zapped_tdp_leaf(m: Machine, old_spte: i64) -> None:
    """A leaf of the TDP MMU was zapped by range: tdp_mmu_zap_leafs(), between the second and the third step."""
    sem = m.sem
    if not sem.x86_accessed_at_leaf_zap_only or sem.zap_does_not_mark_page_accessed:
        return
    if is_accessed_spte(m.masks, old_spte):
        kvm_set_pfn_accessed(m, spte_to_pfn(old_spte))


def mark_dirty_before_access_tracking(m: Machine, old_spte: i64) -> None:
    """Aging is about to take W away, and with it what says that the page may have been written."""
    if not m.sem.x86_dirty_at_spte_creation and is_writable_pte(old_spte):
        kvm_set_pfn_dirty(m, spte_to_pfn(old_spte))


def mark_harvested(m: Machine, old_spte: i64) -> None:
    """clear_dirty_pt_masked() has cleared D, or W if D is of no use."""
    if not m.sem.x86_dirty_at_spte_creation:
        kvm_set_pfn_dirty(m, spte_to_pfn(old_spte))


def mark_write_protected(m: Machine, old_spte: i64) -> None:
    """spte_wrprot_for_clear_dirty() has cleared W. An SPTE with a D bit goes on knowing."""
    if not m.sem.x86_dirty_at_spte_creation and not spte_ad_enabled(old_spte):
        kvm_set_pfn_dirty(m, spte_to_pfn(old_spte))
