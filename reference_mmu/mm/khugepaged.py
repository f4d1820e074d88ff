# SPDX-License-Identifier: GPL-2.0-only
"""Collapsing a block into a huge page (mm/khugepaged.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import KHUGEPAGED_COPY, KHUGEPAGED_ISOLATE, MMAP_WRITE
from ..rwlock import ModelBug
from .filemap import folio_unlock, wait_unlocked
from .host import HOST_D, HOST_SHARED, HOST_W, PTE_BUSY
from .mm import Mm
from .vma import VM_WRITE


def collapse_block(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """Copy a block into a huge page, in short, in one go; gives up if a page is missing, shared or in use."""
    host = mm.host
    start = hva - hva % host.block
    end = start + host.block
    yield from wait_unlocked(mm, start, end)
    if host.huge[start // host.block] or not host.is_on_lru(hva) or not host.vma_is_valid(hva, True):
        return
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    if collapsible(mm, start, end):
        host.align(host.block)
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


def collapse_huge_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """collapse_huge_page(): the page table is taken away, in an invalidation that ends before the pages are locked and
    copied: mmap_lock, held for write, keeps faults out meanwhile. It comes back if a page is missing, shared or in
    use (max_ptes_none, _swap and _shared are 0)."""
    host = mm.host
    first, end = host.block_of(hva)
    yield MMAP_WRITE
    mm.mmap_lock.write_lock(mm.actor)
    if host.is_anonymous(hva) and (host.vma_flags(hva) & VM_WRITE) != 0 and not host.huge[first // host.block]:
        yield from mm.mmu_notifier_invalidate_range_start(first, end)
        mapped = [int(page_hva) for page_hva in range(first, end) if host.pte[page_hva] >= 0]
        flags = [int(host.flags[page_hva]) for page_hva in mapped]
        old = [int(host.unmap(page_hva, PTE_BUSY)) for page_hva in mapped]
        yield from mm.mmu_notifier_invalidate_range_end(first, end)
        yield KHUGEPAGED_ISOLATE
        locked = isolate(mm, old, flags)
        if len(locked) == host.block:
            yield KHUGEPAGED_COPY
            copy_to_huge_page(mm, first, old)
        else:
            for page_hva, pfn, was in zip(mapped, old, flags, strict=True):
                host.set_pte(page_hva, pfn, was)
        for pfn in locked:
            folio_unlock(mm, pfn)
    mm.mmap_lock.write_unlock(mm.actor)


def isolate(mm: Mm, pages: list[int], flags: list[int]) -> list[int]:
    """__collapse_huge_page_isolate(): lock each page, as long as nobody else holds or shares it. Raises ModelBug if one
    is gone."""
    host = mm.host
    locked: list[int] = []
    for pfn, was in zip(pages, flags, strict=True):
        folio = host.folio(pfn)
        if not host.is_at(host.pages[pfn]):
            raise ModelBug("the page table was away, with mmap_lock held for write, and a page has gone meanwhile")
        taken = folio.locked_by >= 0 and folio.locked_by != mm.actor
        if taken or (was & HOST_SHARED) != 0 or not host.only_mapped(pfn):
            break
        folio.locked_by = mm.actor
        locked.append(pfn)
    return locked


def copy_to_huge_page(mm: Mm, first: i64, old: list[int]) -> None:
    """__collapse_huge_page_copy(), and the huge PTE."""
    host = mm.host
    head = host.alloc_huge(first)
    for index, pfn in enumerate(old):
        host.pages[head + index].data = host.pages[pfn].data
        host.set_pte(first + index, head + index, HOST_W | HOST_D)
        mm.put_page(pfn)
    host.huge[first // host.block] = True
