# SPDX-License-Identifier: GPL-2.0-only
"""A memory error that hardware has reported (mm/memory-failure.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import POISON_DROP
from .filemap import folio_lock, folio_unlock
from .host import HOST_D, PTE_HWPOISON, PTE_NONE
from .huge_memory import split_huge_page
from .mm import Mm


def memory_failure(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """memory_failure() of the page that is mapped at hva. What is in it is lost, unless it is a clean page of a file:
    that is read again. A huge page that somebody holds cannot be split, and stays."""
    host = mm.host
    if not host.is_on_lru(hva):
        return
    pfn = yield from folio_lock(mm, hva)
    if pfn < 0:
        return
    split = False
    if host.pte[hva] == pfn and not host.pages[pfn].zero:
        split = yield from split_huge_page(mm, pfn)
    if split:
        gone = yield from unmap_poisoned_folio(mm, hva, pfn)
        if gone:
            yield POISON_DROP
            drop(mm, hva, pfn)
    folio_unlock(mm, pfn)


def unmap_poisoned_folio(mm: Mm, hva: i64, pfn: i64) -> Generator[int, None, bool]:
    """hwpoison_user_mappings(): a hwpoison entry takes the place of the page, or nothing if the page is clean. False:
    it was not there any more."""
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    mapped = host.pte[hva] == pfn
    if mapped:
        dirty = (host.flags[hva] & HOST_D) != 0 or host.folio(pfn).dirty
        lost = dirty or host.is_anonymous(hva)
        host.unmap(hva, PTE_HWPOISON if lost else PTE_NONE)
        host.flags[hva] = 0
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
    return mapped


def drop(mm: Mm, hva: i64, pfn: i64) -> None:
    """identify_page_state(), e.g. me_pagecache_dirty(): the page leaves swap or page cache, and is never used again."""
    host = mm.host
    if host.swap_cache[hva] != pfn:
        return  # zapped meanwhile
    host.swap_cache[hva] = -1
    if host.pte[hva] == PTE_HWPOISON:
        mm.forget(hva)
    host.pages[pfn].discarded = True
    mm.put_page(pfn)
