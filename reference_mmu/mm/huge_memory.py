# SPDX-License-Identifier: GPL-2.0-only
"""Splitting a huge page table entry, and a huge page (mm/huge_memory.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import SPLIT_FREEZE
from .filemap import move_lock, put_orphans
from .host import PTE_BUSY
from .mm import Mm


def split_huge_pmd(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """__split_huge_pmd(): the block is mapped by small PTEs from now on."""
    start, end = mm.host.span(hva)
    if end - start == 1:
        return
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    mm.host.huge[start // mm.host.block] = False
    yield from mm.mmu_notifier_invalidate_range_end(start, end)


def split_huge_page(mm: Mm, pfn: i64) -> Generator[int, None, bool]:
    """split_huge_page(): the folio, which is locked, becomes small pages, of which `pfn` stays locked. Until its count
    is frozen it is mapped nowhere. False: somebody else holds it."""
    host = mm.host
    if not host.folio(pfn).large:
        return True
    if not host.only_mapped(pfn):  # can_split_folio()
        return False
    head = host.pages[pfn].head
    first, end = host.block_of(host.pages[pfn].hva)
    yield from mm.mmu_notifier_invalidate_range_start(first, end)
    host.huge[first // host.block] = False
    mapped = [int(hva) for hva in range(first, end) if host.pte[hva] >= 0 and host.pages[host.pte[hva]].head == head]
    flags = [int(host.flags[hva]) for hva in mapped]
    old = [int(host.unmap(hva, PTE_BUSY)) for hva in mapped]
    yield from mm.mmu_notifier_invalidate_range_end(first, end)
    yield SPLIT_FREEZE
    put_orphans(mm, pfn)
    split = host.split_folio(pfn)
    for hva, was, page in zip(mapped, flags, old, strict=True):
        if host.pte[hva] == PTE_BUSY and host.swap_cache[hva] == page:
            host.remap(hva, page, was)
    if split:
        move_lock(host, head, pfn)
    return split
