# SPDX-License-Identifier: GPL-2.0-only
"""clear_flush_young, clear_young and test_young (virt/kvm/kvm_main.c, kvm_age_gfn() in mmu.c and tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mypy_extensions import i64

from ..kvm.flush import kvm_flush_remote_tlbs
from ..kvm.memslots import memslots_in_hva_range
from ..observed import EV_YOUNG
from .page_table import KvmMmuPage
from .points import AGE_FLUSH, AGE_LOCK, AGE_SPTE, PLACEBO_AGE_FLUSH
from .shadow_mmu.rmap import kvm_rmap_age_gfn_range
from .spte import (
    PG_LEVEL_4K,
    is_accessed_spte,
    is_last_spte,
    is_shadow_present_pte,
    mark_spte_for_access_track,
    spte_ad_enabled,
)
from .tdp_mmu.tdp_iter import TdpIter
from .tdp_mmu.tdp_mmu import kvm_tdp_mmu_write_spte, tdp_mmu_clear_spte_bits

if TYPE_CHECKING:
    from .machine import Machine


def kvm_mmu_notifier_clear_flush_young(m: Machine, hva_start: i64, hva_end: i64) -> Generator[int, None, bool]:
    """Was any page of the range accessed? Forget it, and let the next access be seen."""
    # KVM_ELIDE_TLB_FLUSH_IF_YOUNG, which x86 selects with age-elides-tlb-flush.
    elide_tlb_flush_if_young = m.sem.age_elides_tlb_flush
    m.oracle.flush_young(m)
    flush_on_ret = not elide_tlb_flush_if_young if m.sem.age_flush_elision_kconfig else True
    return (yield from kvm_handle_hva_range(m, hva_start, hva_end, False, flush_on_ret))


def kvm_mmu_notifier_clear_young(m: Machine, hva_start: i64, hva_end: i64) -> Generator[int, None, None]:
    """The same without ever flushing: a false "old" is the price (idle page tracking, MGLRU)."""
    yield from kvm_handle_hva_range(m, hva_start, hva_end, False, False)


def kvm_mmu_notifier_test_young(m: Machine, hva: i64) -> Generator[int, None, None]:
    """Was this page accessed? Changes nothing."""
    yield from kvm_handle_hva_range(m, hva, hva + 1, True, False)


def kvm_handle_hva_range(
    m: Machine, hva_start: i64, hva_end: i64, test_only: bool, flush_on_ret: bool
) -> Generator[int, None, bool]:
    """__kvm_handle_hva_range() with the aging handlers: SRCU and mmu_lock, no invalidation is begun."""
    young = False
    m.srcu.lock(m.actor)
    ranges = memslots_in_hva_range(m, hva_start, hva_end)
    if ranges:
        yield AGE_LOCK
        m.write_lock()
        for gfn_range in ranges:
            found = yield from kvm_age_gfn(m, gfn_range.start, gfn_range.end, test_only)
            young = young or found
            m.oracle.aged(m, gfn_range.start, gfn_range.end, found, not test_only)
        if young and flush_on_ret:
            yield from kvm_flush_remote_tlbs(m, AGE_FLUSH)
        if m.sem.placebo_flush:
            yield from kvm_flush_remote_tlbs(m, PLACEBO_AGE_FLUSH)
        m.write_unlock()
    m.srcu.unlock(m.actor)
    m.record(EV_YOUNG, 1 if young else 0)
    return young


def kvm_age_gfn(m: Machine, start: i64, end: i64, test_only: bool) -> Generator[int, None, bool]:
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
    new_spte = mark_spte_for_access_track(m.masks, it.old_spte)
    it.old_spte = kvm_tdp_mmu_write_spte(m, it.sp, it.index, it.old_spte, new_spte)
    m.spte_changed(it.sp, it.index, it.old_spte, new_spte)
