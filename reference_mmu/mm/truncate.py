# SPDX-License-Identifier: GPL-2.0-only
"""Punching a hole into a file (truncate_pagecache_range(): mm/truncate.c; unmap_mapping_range(): mm/memory.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import TRUNCATE_FOLIO
from .filemap import folio_lock, unlock_if_taken
from .host import PTE_NONE
from .huge_memory import split_huge_pmd
from .memory import empty, zap_page_range
from .mm import Mm


def truncate_pagecache_range(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """The pages of a file go, whoever holds them: unmapped together first, then dropped one by one. Faults go on all
    the while, with mmap_lock free. A dirty mark that comes after the page was cancelled is lost, as it should be."""
    host = mm.host
    for hva in range(start, end):
        if is_file(mm, hva):
            yield from split_huge_pmd(mm, hva)
    yield from unmap_mapping_range(mm, start, end)
    for hva in range(start, end):
        if not is_file(mm, hva):
            continue
        pfn = yield from folio_lock(mm, hva)
        if pfn >= 0:
            if host.pte[hva] == pfn:  # a fault has mapped it again
                yield from unmap_mapping_range(mm, hva, hva + 1)
            yield TRUNCATE_FOLIO
        truncate_inode_folio(mm, hva, pfn)
        unlock_if_taken(mm, pfn)


def is_file(mm: Mm, hva: i64) -> bool:
    """Is there memory with a page cache, out of which a page can be taken?"""
    return mm.host.is_on_lru(hva) and not mm.host.is_anonymous(hva) and mm.host.vma_flags(hva) != 0


def unmap_mapping_range(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """unmap_mapping_range(): no process maps it any more, the page cache still has it. VMA by VMA."""
    at = start
    while at < end:
        stop = min(mm.host.block_of(at)[1], end)
        if is_file(mm, at):
            yield from mm.mmu_notifier_invalidate_range_start(at, stop)
            if is_file(mm, at):
                zap_page_range(mm, at, stop, False)
            yield from mm.mmu_notifier_invalidate_range_end(at, stop)
        at = stop


def truncate_inode_folio(mm: Mm, hva: i64, pfn: i64) -> None:
    """truncate_inode_folio(): clean, whatever it was, and out of the page cache. The folio is locked, or there was
    none (-1), and what is read next is a hole."""
    host = mm.host
    if not is_file(mm, hva) or host.page_at(hva) != pfn:
        return  # unmapped for good meanwhile
    empty(mm, hva, PTE_NONE)
    if pfn >= 0:
        host.folio(pfn).dirty = False
        host.pages[pfn].discarded = True
        mm.put_page(pfn)
