# SPDX-License-Identifier: GPL-2.0-only
"""Collapsing a block into a huge page (mm/khugepaged.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .filemap import wait_unlocked
from .host import HOST_D, HOST_SHARED, HOST_W, PTE_BUSY
from .mm import Mm


def collapse_huge_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """khugepaged: copy a block into a huge page and map that; gives up if a page is missing, shared or in use."""
    host = mm.host
    start = hva - hva % host.block
    end = start + host.block
    yield from wait_unlocked(mm, start, end)
    if host.huge[start // host.block]:
        return
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    if collapsible(mm, start, end):
        host.align()
        old = [int(host.clear_pte(page_hva, PTE_BUSY)) for page_hva in range(start, end)]
        for page_hva in range(start, end):
            pfn = host.alloc(page_hva, host.pages[old[page_hva - start]].data)
            host.set_pte(page_hva, pfn, HOST_W | HOST_D)
        host.make_large(host.pte[start])
        for freed in old:
            mm.put_page(freed)
        host.huge[start // host.block] = True
    yield from mm.mmu_notifier_invalidate_range_end(start, end)


def collapsible(mm: Mm, start: i64, end: i64) -> bool:
    host = mm.host
    if not host.vm_normal_page(start):
        return False
    for hva in range(start, end):
        if host.pte[hva] < 0 or (host.flags[hva] & HOST_SHARED) != 0:
            return False
        if not host.only_mapped(host.pte[hva]):
            return False
    return True
