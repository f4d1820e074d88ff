# SPDX-License-Identifier: GPL-2.0-only
"""Throwing pages away, and asking for them (mm/madvise.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import MMAP_READ
from .filemap import wait_unlocked
from .gup import FOLL_WRITE, faultin_page
from .host import PTE_BUSY, PTE_NONE
from .huge_memory import split_huge_pmd
from .memory import empty, zap_page_range
from .mm import Mm


def discard(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """Throw away, in short: the contents are gone, whatever memory it is; whoever reads next finds zeroes."""
    for hva in range(start, end):
        yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, start, end)
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    for hva in range(start, end):
        if host.pte[hva] == PTE_BUSY:
            continue
        pfn = host.pte[hva] if host.pte[hva] >= 0 else host.swap_cache[hva]
        empty(mm, hva, PTE_NONE)
        if pfn >= 0:
            host.pages[pfn].discarded = True
            # That of a device is counted by PTE like any other. A driver gives back what is not reserved.
            if not host.vm_normal_page(hva):
                if host.pages[pfn].reserved or host.pages[pfn].others == 0:
                    continue
                host.pages[pfn].others -= 1
            mm.put_page(pfn)
    yield from mm.mmu_notifier_invalidate_range_end(start, end)


def madvise_dontneed(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """madvise(MADV_DONTNEED): anonymous contents are gone, those of a file are unmapped. mmap_lock held for read."""
    if not mm.mmap_lock.can_read():
        yield MMAP_READ
    mm.mmap_lock.read_lock(mm.actor)
    at = start
    while at < end:
        stop = min(mm.host.block_of(at)[1], end)
        if can_madv_dontneed(mm, at, stop):
            yield from zap_page_range_single(mm, at, stop)
        at = stop
    mm.mmap_lock.read_unlock(mm.actor)


def can_madv_dontneed(mm: Mm, start: i64, end: i64) -> bool:
    """madvise_dontneed_free_valid_vma(): not VM_PFNMAP, and of what is no ordinary huge page only all of it. (A huge
    mapping of ZONE_DEVICE could be split.)"""
    host = mm.host
    if host.vma_flags(start) == 0 or host.vma_is_pfnmap(start):
        return False
    return host.is_on_lru(start) or not host.huge[start // host.block] or end - start == host.block


def zap_page_range_single(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """zap_page_range_single(): part of one VMA. A huge page of which some stays is split inside, with an invalidation
    of its own (zap_pmd_range()); one that goes as a whole leaves the place for another (zap_huge_pmd())."""
    host = mm.host
    block = start // host.block
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    if end - start != host.block:
        yield from split_huge_pmd(mm, start)
    zap_page_range(mm, start, end, False)
    if host.huge[block]:
        host.huge[block] = False
        host.pmd_none[block] = host.kind(start).huge and host.is_anonymous(start)
    yield from mm.mmu_notifier_invalidate_range_end(start, end)


def madvise_populate(mm: Mm, hva: i64, write: bool) -> Generator[int, None, None]:
    """madvise(MADV_POPULATE_READ or _WRITE): the process's own fault, e.g. to swap a page in."""
    yield from faultin_page(mm, hva, FOLL_WRITE if write else 0)
