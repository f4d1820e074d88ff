# SPDX-License-Identifier: GPL-2.0-only
"""Writing back pages that stay mapped (mm/page-writeback.c; page_mkclean() is in mm/rmap.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import INV_IO
from .filemap import folio_lock, folio_unlock, unlock_if_taken
from .host import HOST_D, HOST_W
from .huge_memory import split_huge_pmd
from .mm import Mm
from .page_io import pageout


def writeback(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """Write back one page of a file (page_mkclean(), then I/O): it stays mapped, read-only and clean. Anonymous memory
    and shmem reach their backing store by reclaim alone, which unmaps them first."""
    host = mm.host
    if not host.is_on_lru(hva) or not host.kind(hva).page_mkwrite:
        return
    yield from split_huge_pmd(mm, hva)
    locked = yield from folio_lock(mm, hva)
    if locked < 0 or host.pte[hva] < 0:
        unlock_if_taken(mm, locked)
        return
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    # The kernel cleans the page it has locked; here a copy that has replaced it meanwhile will do as well.
    pfn = host.pte[hva]
    if pfn >= 0:
        if (host.flags[hva] & HOST_D) != 0:
            host.folio(pfn).dirty = True
        host.flags[hva] &= ~(HOST_W | HOST_D)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
    yield INV_IO
    if pfn >= 0 and host.pte[hva] == pfn and host.folio(pfn).dirty:
        pageout(mm, pfn)
    folio_unlock(mm, locked)
