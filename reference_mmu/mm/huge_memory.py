# SPDX-License-Identifier: GPL-2.0-only
"""Splitting a huge page table entry (mm/huge_memory.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .mm import Mm


def split_huge_pmd(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """__split_huge_pmd(): the block is mapped by small PTEs from now on."""
    start, end = mm.host.span(hva)
    if end - start == 1:
        return
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    mm.host.huge[start // mm.host.block] = False
    yield from mm.mmu_notifier_invalidate_range_end(start, end)
