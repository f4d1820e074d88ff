# SPDX-License-Identifier: GPL-2.0-only
"""Ranges of the guest's memory: unmapped and write-protected part by part (arch/arm64/kvm/mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..stage2.machine import Stage2Machine
from ..stage2.resched import cond_resched_lock
from ..stage2.write_protect import write_protect
from .pgtable import kvm_pgtable_stage2_unmap
from .points import APPLY_RELOCK


def unmap_stage2_range(m: Stage2Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """__unmap_stage2_range(), which may drop mmu_lock between two parts. mmu_lock held for write."""
    while start < end:
        stop = stage2_range_addr_end(m, start, end)
        yield from kvm_pgtable_stage2_unmap(m, start, stop)
        yield from cond_resched_lock(m, start, stop < end, APPLY_RELOCK)
        start = stop


def stage2_wp_range(m: Stage2Machine, start: i64, end: i64) -> Generator[int, None, bool]:
    """kvm_pgtable_stage2_wrprotect() part by part. mmu_lock held for write."""
    changed = False
    while start < end:
        stop = stage2_range_addr_end(m, start, end)
        part = yield from write_protect(m, start, stop)
        changed = changed or part
        yield from cond_resched_lock(m, start, stop < end, APPLY_RELOCK)
        start = stop
    return changed


def stage2_range_addr_end(m: Stage2Machine, gfn: i64, end: i64) -> i64:
    """Where the part ends that is walked at one go. In hardware that is the largest block, 1 GiB of 4 KiB pages; here
    the span of one last-level table, or no range would have two parts."""
    return min(end, m.gfn_round_for_level(gfn, 2) + m.pages_per_hpage(2))
