# SPDX-License-Identifier: GPL-2.0-only
"""NUMA hinting (change_protection() with MM_CP_PROT_NUMA: mm/mprotect.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .filemap import wait_unlocked
from .host import HOST_PROTNONE
from .mm import Mm


def change_protection_numa(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """NUMA hinting: the PTEs become PROT_NONE for a while, the pages stay. A huge PTE changes as a whole."""
    start, end = mm.host.span(start)[0], mm.host.span(end - 1)[1]
    yield from wait_unlocked(mm, start, end)
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    for hva in range(start, end):
        if mm.host.pte[hva] >= 0:
            mm.host.flags[hva] |= HOST_PROTNONE
    yield from mm.mmu_notifier_invalidate_range_end(start, end)
