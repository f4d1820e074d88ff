# SPDX-License-Identifier: GPL-2.0-only
"""Reclaim (mm/vmscan.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import INV_CLEAN, INV_IO, RECLAIM_FREE, RECLAIM_WRITE
from .filemap import folio_trylock, folio_unlock, wait_unlocked
from .host import HOST_SHARED, PTE_BUSY, PTE_NONE, PTE_SWAP
from .huge_memory import split_huge_page, split_huge_pmd
from .mm import Mm
from .page_io import pageout


def shrink_folio_list(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """Reclaim the page at hva, as shrink_folio_list() does, of which a huge page has become small ones first."""
    host = mm.host
    if not host.is_on_lru(hva):
        return
    pfn = folio_trylock(mm, hva)
    if pfn < 0:
        return
    young = yield from folio_referenced(mm, hva, pfn)
    if not young and not (host.is_anonymous(hva) and host.maybe_dma_pinned(pfn)):
        split = yield from split_huge_page(mm, pfn)
        if split:
            yield from try_to_unmap(mm, hva, pfn)
            yield from pageout_and_free(mm, hva, pfn)
    folio_unlock(mm, pfn)


def folio_referenced(mm: Mm, hva: i64, pfn: i64) -> Generator[int, None, bool]:
    """folio_referenced(): a page that looks young to anybody who maps it stays. Each PTE is asked for itself."""
    host = mm.host
    young = False
    first, end = host.block_of(hva) if host.folio(pfn).large else (hva, hva + 1)
    while first < end:
        at, after = host.span(first)
        if host.pte[first] >= 0 and host.folio(host.pte[first]) is host.folio(pfn):
            found = yield from mm.mmu_notifier_clear_flush_young(at, after)
            young = young or found
        first = after
    return young


def try_to_unmap(mm: Mm, hva: i64, pfn: i64) -> Generator[int, None, None]:
    """try_to_unmap(): a swap entry, or nothing, is where the page was; a dirty PTE makes the page dirty."""
    host = mm.host
    if host.pte[hva] != pfn:
        return
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] == pfn:
        host.unmap(hva, PTE_SWAP)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)


def pageout_and_free(mm: Mm, hva: i64, pfn: i64) -> Generator[int, None, None]:
    """pageout() and __remove_mapping(): written out if it is dirty, and freed if it is still clean once its count is
    frozen, which it is not while anybody holds a reference. Else it stays in the swap cache."""
    host = mm.host
    if not is_unmapped(mm, hva, pfn) or host.maybe_dma_pinned(pfn):
        return
    if host.folio(pfn).dirty:
        yield RECLAIM_WRITE
        if is_unmapped(mm, hva, pfn):
            pageout(mm, pfn)
    yield RECLAIM_FREE
    if is_unmapped(mm, hva, pfn) and host.only_mapped(pfn) and not host.folio(pfn).dirty:
        host.swap_cache[hva] = -1
        mm.put_page(pfn)


def is_unmapped(mm: Mm, hva: i64, pfn: i64) -> bool:
    """Is the page in the swap cache alone? It may be mapped still, or have been thrown away."""
    return mm.host.pte[hva] < 0 and mm.host.pte[hva] != PTE_BUSY and mm.host.swap_cache[hva] == pfn


def shrink_folio(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """Reclaim one small page, in short: as if whoever reads it back never had to wait for it."""
    yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, hva, hva + 1)
    host = mm.host
    if host.pte[hva] < 0 or (host.flags[hva] & HOST_SHARED) != 0 or not host.is_on_lru(hva):
        return
    # folio_referenced(): a page that looks young stays.
    young = yield from mm.mmu_notifier_clear_flush_young(hva, hva + 1)
    if young:
        return
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] < 0:
        yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
        return
    pfn = host.clear_pte(hva, PTE_BUSY)
    folio = host.folio(pfn)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
    if folio.dirty:
        yield INV_CLEAN
        pageout(mm, pfn)
    yield INV_IO
    # __remove_mapping(): freeze the count, and look at dirty once more after that.
    host.pte[hva] = PTE_NONE
    if host.only_mapped(pfn) and not folio.dirty:
        host.swap_cache[hva] = -1
        mm.put_page(pfn)
