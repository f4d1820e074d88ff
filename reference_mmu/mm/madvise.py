# SPDX-License-Identifier: GPL-2.0-only
"""Throwing pages away (mm/madvise.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .filemap import wait_unlocked
from .host import PTE_BUSY, PTE_NONE
from .huge_memory import split_huge_pmd
from .mm import Mm


def discard(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """madvise(MADV_DONTNEED) or hole punching: the contents are gone, whoever reads next finds zeroes."""
    for hva in range(start, end):
        yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, start, end)
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    for hva in range(start, end):
        if host.pte[hva] == PTE_BUSY:
            continue
        pfn = host.pte[hva] if host.pte[hva] >= 0 else host.swap_cache[hva]
        host.pte[hva] = PTE_NONE
        host.flags[hva] = 0
        host.swap_cache[hva] = -1
        host.swap[hva] = 0
        host.reference[hva] = 0
        host.clear_words(hva)
        mm.discarded(hva)
        if pfn >= 0:
            host.pages[pfn].discarded = True
            # A driver does not give reserved memory back; that of a device is counted by PTE like any other.
            if not host.vma_is_pfnmap(hva) or not host.pages[pfn].reserved:
                mm.put_page(pfn)
    yield from mm.mmu_notifier_invalidate_range_end(start, end)
