# SPDX-License-Identifier: GPL-2.0-only
"""mmu_notifier invalidation (virt/kvm/kvm_main.c, kvm_unmap_gfn_range() in mmu.c).

The SRCU section of __kvm_handle_hva_range() is left out here: memslots cannot change anyway, as long as
mn_active_invalidate_count is not zero.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mypy_extensions import i64

from ..x86.points import INV_ACTIVE, INV_END_LOCK, INV_FLUSH, INV_LOCK, INV_PRIMARY
from ..x86.shadow_mmu.rmap import kvm_rmap_zap_gfn_range
from ..x86.tdp_mmu.zap import kvm_tdp_mmu_unmap_gfn_range
from .flush import kvm_flush_remote_tlbs
from .memslots import memslots_in_hva_range

if TYPE_CHECKING:
    from ..x86.machine import Machine


def kvm_mmu_notifier_invalidate_range_start(m: Machine, hva_start: i64, hva_end: i64) -> Generator[int, None, None]:
    """Zap [hva_start, hva_end) everywhere. When it returns no vCPU can use a translation of the range, and faults
    that looked the page up before it see that they are stale: in progress until the end, a new seq after."""
    yield INV_ACTIVE
    m.mn_active_invalidate_count += 1
    ranges = memslots_in_hva_range(m, hva_start, hva_end)
    if ranges:
        yield INV_LOCK
        m.write_lock()
        kvm_mmu_invalidate_begin(m)
        flush = False
        for gfn_range in ranges:
            kvm_mmu_invalidate_range_add(m, gfn_range.start, gfn_range.end)
            zapped = yield from kvm_unmap_gfn_range(m, gfn_range.start, gfn_range.end)
            flush = flush or zapped
        if flush:
            yield from kvm_flush_remote_tlbs(m, INV_FLUSH)
        m.write_unlock()
    m.oracle.invalidate_started(m, hva_start, hva_end)
    yield INV_PRIMARY


def kvm_mmu_notifier_invalidate_range_end(m: Machine, hva_start: i64, hva_end: i64) -> Generator[int, None, None]:
    """Let faults in again. seq moves before in_progress drops, so a holder of mmu_lock sees one or the other."""
    if memslots_in_hva_range(m, hva_start, hva_end):
        yield INV_END_LOCK
        m.write_lock()
        m.oracle.invalidate_ended(m, hva_start, hva_end)
        kvm_mmu_invalidate_end(m)
        m.write_unlock()
    else:
        m.oracle.invalidate_ended(m, hva_start, hva_end)
    m.mn_active_invalidate_count -= 1


def kvm_mmu_invalidate_begin(m: Machine) -> None:
    m.mmu_invalidate_in_progress += 1
    if m.mmu_invalidate_in_progress == 1:
        m.mmu_invalidate_range_start = -1
        m.mmu_invalidate_range_end = -1


def kvm_mmu_invalidate_range_add(m: Machine, start: i64, end: i64) -> None:
    """Concurrent invalidations share one range, the hull: it only grows until none is in progress."""
    if m.mmu_invalidate_range_start < 0:
        m.mmu_invalidate_range_start = start
        m.mmu_invalidate_range_end = end
        return
    m.mmu_invalidate_range_start = min(m.mmu_invalidate_range_start, start)
    m.mmu_invalidate_range_end = max(m.mmu_invalidate_range_end, end)


def kvm_mmu_invalidate_end(m: Machine) -> None:
    m.mmu_invalidate_seq += 1
    m.mmu_invalidate_in_progress -= 1


def mmu_invalidate_retry_gfn(m: Machine, mmu_seq: i64, gfn: i64) -> bool:
    """Is a page looked up when mmu_invalidate_seq was mmu_seq possibly gone? Exact only with mmu_lock held."""
    if m.mmu_invalidate_in_progress > 0 and m.mmu_invalidate_range_start <= gfn < m.mmu_invalidate_range_end:
        return True
    return m.mmu_invalidate_seq != mmu_seq


def kvm_unmap_gfn_range(m: Machine, start: i64, end: i64) -> Generator[int, None, bool]:
    """Zap [start, end) in all page tables; True if the caller owes a flush."""
    flush = False
    if m.kvm_memslots_have_rmaps():
        flush = yield from kvm_rmap_zap_gfn_range(m, start, end, flush)
    if m.tdp_mmu_enabled:
        flush = yield from kvm_tdp_mmu_unmap_gfn_range(m, start, end, True, flush)
    return flush
