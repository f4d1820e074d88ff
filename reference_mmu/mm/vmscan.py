# SPDX-License-Identifier: GPL-2.0-only
"""Reclaim (mm/vmscan.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import INV_CLEAN, INV_IO
from .filemap import wait_unlocked
from .host import HOST_SHARED, PTE_BUSY, PTE_NONE
from .huge_memory import split_huge_pmd
from .mm import Mm
from .page_io import pageout


def shrink_folio(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """Reclaim one small page (shrink_folio_list()): unmap, write out if dirty, free if nobody else holds it."""
    yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, hva, hva + 1)
    host = mm.host
    if host.pte[hva] < 0 or (host.flags[hva] & HOST_SHARED) != 0 or not host.vm_normal_page(hva):
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
