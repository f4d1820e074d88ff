# SPDX-License-Identifier: GPL-2.0-only
"""kvm_age_gfn() and kvm_test_age_gfn() (mmu.c, tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .machine import Machine
from .page_table import KvmMmuPage
from .points import AGE_SPTE
from .shadow_mmu.rmap import kvm_rmap_age_gfn_range
from .spte import (
    PG_LEVEL_4K,
    is_accessed_spte,
    is_last_spte,
    is_shadow_present_pte,
    mark_spte_for_access_track,
    spte_ad_enabled,
)
from .struct_page import mark_dirty_before_access_tracking
from .tdp_mmu.tdp_iter import TdpIter
from .tdp_mmu.tdp_mmu import kvm_tdp_mmu_write_spte, tdp_mmu_clear_spte_bits


def kvm_age_gfn(m: Machine, start: i64, end: i64, test_only: bool) -> Generator[int, None, bool]:
    """Both: age [start, end), or only look at it. mmu_lock held for write."""
    young = False
    if m.kvm_memslots_have_rmaps():
        young = yield from kvm_rmap_age_gfn_range(m, start, end, test_only)
    if m.tdp_mmu_enabled:
        # No short cut if the rmaps have answered already.
        found = yield from __kvm_tdp_mmu_age_gfn_range(m, start, end, test_only)
        young = young or found
    return young


def __kvm_tdp_mmu_age_gfn_range(m: Machine, start: i64, end: i64, test_only: bool) -> Generator[int, None, bool]:
    """Age, or look at, every accessed leaf of the range. mmu_lock held for write; never yields it."""
    sem = m.sem
    ret = False
    for root in m.tdp_mmu_roots:
        # An invalid root holds stale information: its gfn may not even map this hva any more.
        if sem.age_valid_roots_only and root.invalid:
            continue
        m.rcu_read_lock()
        found = yield from age_root(m, root, start, end, test_only)
        m.rcu_read_unlock()
        ret = ret or found
        if sem.test_age_early_out and test_only and ret:
            break
    return ret


def age_root(m: Machine, root: KvmMmuPage, start: i64, end: i64, test_only: bool) -> Generator[int, None, bool]:
    ret = False
    it = TdpIter(m, root, PG_LEVEL_4K, start, end)
    while it.more():
        if not is_shadow_present_pte(it.old_spte) or not is_last_spte(it.old_spte, it.level):
            continue
        m.count_visit()
        if not is_accessed_spte(m.masks, it.old_spte):
            continue
        ret = True
        if test_only:
            if m.sem.test_age_early_out:
                break
            continue
        yield AGE_SPTE
        kvm_tdp_mmu_age_spte(m, it)
    return ret


def kvm_tdp_mmu_age_spte(m: Machine, it: TdpIter) -> None:
    """Clear A, or take R, W and X away. Hardware may have set D, and fast_page_fault() W, since old_spte was read."""
    if spte_ad_enabled(it.old_spte):
        it.old_spte = tdp_mmu_clear_spte_bits(m, it, m.masks.shadow_accessed_mask)
        return
    mark_dirty_before_access_tracking(m, it.old_spte)
    new_spte = mark_spte_for_access_track(m.masks, it.old_spte)
    it.old_spte = kvm_tdp_mmu_write_spte(m, it.sp, it.index, it.old_spte, new_spte)
    m.spte_changed(it.sp, it.index, it.old_spte, new_spte)
