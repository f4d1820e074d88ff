# SPDX-License-Identifier: GPL-2.0-only
"""The mmu_notifier: invalidation and aging on behalf of the primary MMU (virt/kvm/kvm_main.c).

The SRCU section of __kvm_handle_hva_range() is left out of invalidations: memslots cannot change anyway, as long as
mn_active_invalidate_count is not zero.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..observed import EV_YOUNG
from ..points import (
    AGE_FLUSH,
    AGE_LOCK,
    INV_ACTIVE,
    INV_END_LOCK,
    INV_FLUSH,
    INV_LOCK,
    INV_PRIMARY,
    PLACEBO_AGE_FLUSH,
)
from .flush import kvm_flush_remote_tlbs
from .kvm import Kvm
from .memslots import memslots_in_hva_range
from .observer import MMU_INVALIDATE_SEQ_MAX


def kvm_mmu_notifier_invalidate_range_start(kvm: Kvm, hva_start: i64, hva_end: i64) -> Generator[int, None, None]:
    """Zap [hva_start, hva_end) everywhere. When it returns no vCPU can use a translation of the range, and faults
    that looked the page up before it see that they are stale: in progress until the end, a new seq after."""
    yield INV_ACTIVE
    kvm.mn_active_invalidate_count += 1
    ranges = memslots_in_hva_range(kvm.memslots, hva_start, hva_end)
    if ranges:
        yield INV_LOCK
        kvm.write_lock()
        kvm_mmu_invalidate_begin(kvm)
        flush = False
        for gfn_range in ranges:
            kvm.use_memslot(gfn_range.slot)
            kvm_mmu_invalidate_range_add(kvm, gfn_range.start, gfn_range.end)
            zapped = yield from kvm.kvm_unmap_gfn_range(gfn_range)
            flush = flush or zapped
        if flush:
            yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)
        kvm.write_unlock()
    kvm.oracle.invalidate_started(kvm, hva_start, hva_end)
    yield INV_PRIMARY


def kvm_mmu_notifier_invalidate_range_end(kvm: Kvm, hva_start: i64, hva_end: i64) -> Generator[int, None, None]:
    """Let faults in again. seq moves before in_progress drops, so a holder of mmu_lock sees one or the other."""
    if memslots_in_hva_range(kvm.memslots, hva_start, hva_end):
        yield INV_END_LOCK
        kvm.write_lock()
        kvm.oracle.invalidate_ended(kvm, hva_start, hva_end)
        kvm_mmu_invalidate_end(kvm)
        kvm.write_unlock()
    else:
        kvm.oracle.invalidate_ended(kvm, hva_start, hva_end)
    kvm.mn_active_invalidate_count -= 1


def kvm_mmu_invalidate_begin(kvm: Kvm) -> None:
    """mmu_lock held for write, as by the two functions below: nothing else keeps the counts in step."""
    kvm.lockdep_assert(kvm.mmu_lock.held[kvm.actor] < 0)
    kvm.mmu_invalidate_in_progress += 1
    if kvm.mmu_invalidate_in_progress == 1:
        kvm.mmu_invalidate_range_start = -1
        kvm.mmu_invalidate_range_end = -1


def kvm_mmu_invalidate_range_add(kvm: Kvm, start: i64, end: i64) -> None:
    """Concurrent invalidations share one range, the hull: it only grows until none is in progress."""
    kvm.lockdep_assert(kvm.mmu_lock.held[kvm.actor] < 0)
    if kvm.mmu_invalidate_range_start < 0:
        kvm.mmu_invalidate_range_start = start
        kvm.mmu_invalidate_range_end = end
        return
    kvm.mmu_invalidate_range_start = min(kvm.mmu_invalidate_range_start, start)
    kvm.mmu_invalidate_range_end = max(kvm.mmu_invalidate_range_end, end)


def kvm_mmu_invalidate_end(kvm: Kvm) -> None:
    kvm.lockdep_assert(kvm.mmu_lock.held[kvm.actor] < 0)
    kvm.mmu_invalidate_seq = (kvm.mmu_invalidate_seq + 1) & MMU_INVALIDATE_SEQ_MAX
    kvm.mmu_invalidate_in_progress -= 1
    kvm.warn_on(kvm.mmu_invalidate_range_start < 0, "kvm_mmu_invalidate_end: no range was added")


def mmu_invalidate_retry(kvm: Kvm, mmu_seq: i64) -> bool:
    """mmu_invalidate_retry_gfn() for who does not look at the range: any invalidation of the machine counts. mmu_lock
    held."""
    return kvm.mmu_invalidate_in_progress > 0 or kvm.mmu_invalidate_seq != mmu_seq


def mmu_invalidate_retry_gfn(kvm: Kvm, mmu_seq: i64, gfn: i64) -> bool:
    """Is a page looked up when mmu_invalidate_seq was mmu_seq possibly gone? Exact only with mmu_lock held."""
    if kvm.mmu_invalidate_in_progress > 0 and kvm.mmu_invalidate_range_start <= gfn < kvm.mmu_invalidate_range_end:
        return True
    return kvm.mmu_invalidate_seq != mmu_seq


def kvm_mmu_notifier_clear_flush_young(kvm: Kvm, hva_start: i64, hva_end: i64) -> Generator[int, None, bool]:
    """Was any page of the range accessed? Forget it, and let the next access be seen."""
    elide_tlb_flush_if_young = kvm.elides_tlb_flush_if_young()
    kvm.oracle.flush_young(kvm)
    flush_on_ret = not elide_tlb_flush_if_young if kvm.sem.age_flush_elision_kconfig else True
    return (yield from kvm_handle_hva_range(kvm, hva_start, hva_end, False, flush_on_ret))


def kvm_mmu_notifier_clear_young(kvm: Kvm, hva_start: i64, hva_end: i64) -> Generator[int, None, None]:
    """The same without ever flushing: a false "old" is the price (idle page tracking, MGLRU)."""
    yield from kvm_handle_hva_range(kvm, hva_start, hva_end, False, False)


def kvm_mmu_notifier_test_young(kvm: Kvm, hva: i64) -> Generator[int, None, None]:
    """Was this page accessed? Changes nothing."""
    yield from kvm_handle_hva_range(kvm, hva, hva + 1, True, False)


def kvm_handle_hva_range(
    kvm: Kvm, hva_start: i64, hva_end: i64, test_only: bool, flush_on_ret: bool
) -> Generator[int, None, bool]:
    """__kvm_handle_hva_range() with the aging handlers: SRCU and mmu_lock, no invalidation is begun."""
    young = False
    kvm.srcu.lock(kvm.actor)
    ranges = memslots_in_hva_range(kvm.memslots, hva_start, hva_end)
    if ranges:
        yield AGE_LOCK
        kvm.write_lock()
        for gfn_range in ranges:
            kvm.use_memslot(gfn_range.slot)
            if test_only:
                found = yield from kvm.kvm_test_age_gfn(gfn_range)
            else:
                found = yield from kvm.kvm_age_gfn(gfn_range)
            young = young or found
            kvm.oracle.aged(kvm, gfn_range.start, gfn_range.end, found, not test_only)
        if young and flush_on_ret:
            yield from kvm_flush_remote_tlbs(kvm, AGE_FLUSH)
        if kvm.sem.placebo_flush:
            yield from kvm_flush_remote_tlbs(kvm, PLACEBO_AGE_FLUSH)
        kvm.write_unlock()
    kvm.srcu.unlock(kvm.actor)
    kvm.record(EV_YOUNG, 1 if young else 0)
    return young
