# SPDX-License-Identifier: GPL-2.0-only
"""What the primary MMU does to pages a guest uses: reclaim, writeback, migration, sharing, discard, THP (mm/).

Every one of them follows the notifier contract: range_start, change the host PTEs, range_end.  Whatever relies on
nobody writing (copying, writing out, freeing) happens after start has returned.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mypy_extensions import i64

from ..kvm.mmu_notifier import kvm_mmu_notifier_invalidate_range_end, kvm_mmu_notifier_invalidate_range_start
from ..x86.aging import kvm_mmu_notifier_clear_flush_young
from ..x86.points import INV_CLEAN, INV_IO, MM_WAIT
from .mm import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W, PTE_BUSY, PTE_NONE

if TYPE_CHECKING:
    from ..x86.machine import Machine


def wait_unlocked(m: Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """Wait until no page of the range is locked or migrating (another thread's doing)."""
    for hva in range(start, end):
        while m.host.pte[hva] == PTE_BUSY:
            m.hva_waiters[m.actor] = hva
            yield MM_WAIT


def split_huge_pmd(m: Machine, hva: i64) -> Generator[int, None, None]:
    """__split_huge_pmd(): the block is mapped by small PTEs from now on."""
    start, end = m.host.span(hva)
    if end - start == 1:
        return
    yield from kvm_mmu_notifier_invalidate_range_start(m, start, end)
    m.host.huge[start // m.host.block] = False
    yield from kvm_mmu_notifier_invalidate_range_end(m, start, end)


def change_protection_numa(m: Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """NUMA hinting: the PTEs become PROT_NONE for a while, the pages stay. A huge PTE changes as a whole."""
    start, end = m.host.span(start)[0], m.host.span(end - 1)[1]
    yield from wait_unlocked(m, start, end)
    yield from kvm_mmu_notifier_invalidate_range_start(m, start, end)
    for hva in range(start, end):
        if m.host.pte[hva] >= 0:
            m.host.flags[hva] |= HOST_PROTNONE
    yield from kvm_mmu_notifier_invalidate_range_end(m, start, end)


def migrate_page(m: Machine, hva: i64) -> Generator[int, None, None]:
    """migrate_pages() of one small page: gives up if anybody else holds a reference."""
    yield from split_huge_pmd(m, hva)
    yield from wait_unlocked(m, hva, hva + 1)
    host = m.host
    yield from kvm_mmu_notifier_invalidate_range_start(m, hva, hva + 1)
    if host.pte[hva] < 0:
        yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)
        return
    flags = host.flags[hva]
    old = host.clear_pte(hva, PTE_BUSY)
    yield INV_CLEAN
    yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)
    yield INV_IO
    if host.pages[old].refcount != 1:
        host.set_pte(hva, old, flags)
        return
    new = host.alloc(hva, host.pages[old].data)
    host.pages[new].dirty = host.pages[old].dirty
    host.set_pte(hva, new, flags)
    m.put_page(old)


def shrink_folio(m: Machine, hva: i64) -> Generator[int, None, None]:
    """Reclaim one small page (shrink_folio_list()): unmap, write out if dirty, free if nobody else holds it."""
    yield from split_huge_pmd(m, hva)
    yield from wait_unlocked(m, hva, hva + 1)
    host = m.host
    if host.pte[hva] < 0 or (host.flags[hva] & HOST_SHARED) != 0:
        return
    # folio_referenced(): a page that looks young stays.
    young = yield from kvm_mmu_notifier_clear_flush_young(m, hva, hva + 1)
    if young:
        return
    yield from kvm_mmu_notifier_invalidate_range_start(m, hva, hva + 1)
    if host.pte[hva] < 0:
        yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)
        return
    pfn = host.clear_pte(hva, PTE_BUSY)
    page = host.pages[pfn]
    yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)
    if page.dirty:
        yield INV_CLEAN
        pageout(m, pfn)
    yield INV_IO
    # __remove_mapping(): freeze the count, and look at dirty once more after that.
    host.pte[hva] = PTE_NONE
    if page.refcount == 1 and not page.dirty:
        host.swap_cache[hva] = -1
        m.put_page(pfn)


def pageout(m: Machine, pfn: i64) -> None:
    """Clean the page and write it to its backing store."""
    page = m.host.pages[pfn]
    page.dirty = False
    page.cleaned += 1
    m.host.swap[page.hva] = page.data


def writeback(m: Machine, hva: i64) -> Generator[int, None, None]:
    """Write back one page of a file (page_mkclean(), then I/O): it stays mapped, read-only and clean."""
    yield from split_huge_pmd(m, hva)
    yield from wait_unlocked(m, hva, hva + 1)
    host = m.host
    if host.pte[hva] < 0:
        return
    yield from kvm_mmu_notifier_invalidate_range_start(m, hva, hva + 1)
    pfn = host.pte[hva]
    if pfn >= 0:
        if (host.flags[hva] & HOST_D) != 0:
            host.pages[pfn].dirty = True
        host.flags[hva] &= ~(HOST_W | HOST_D)
    yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)
    yield INV_IO
    if pfn >= 0 and host.pte[hva] == pfn and host.pages[pfn].dirty:
        pageout(m, pfn)


def share_page(m: Machine, hva: i64) -> Generator[int, None, None]:
    """fork() or KSM: another process maps the page, too; both see it read-only until one writes."""
    yield from split_huge_pmd(m, hva)
    yield from wait_unlocked(m, hva, hva + 1)
    host = m.host
    yield from kvm_mmu_notifier_invalidate_range_start(m, hva, hva + 1)
    if host.pte[hva] >= 0 and (host.flags[hva] & HOST_SHARED) == 0:
        host.flags[hva] = (host.flags[hva] & ~HOST_W) | HOST_SHARED
        host.pages[host.pte[hva]].refcount += 1
    yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)


def discard(m: Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """madvise(MADV_DONTNEED) or hole punching: the contents are gone, whoever reads next finds zeroes."""
    for hva in range(start, end):
        yield from split_huge_pmd(m, hva)
    yield from wait_unlocked(m, start, end)
    host = m.host
    yield from kvm_mmu_notifier_invalidate_range_start(m, start, end)
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
        m.oracle.discarded(m, hva)
        if pfn >= 0:
            m.put_page(pfn)
    yield from kvm_mmu_notifier_invalidate_range_end(m, start, end)


def collapse_huge_page(m: Machine, hva: i64) -> Generator[int, None, None]:
    """khugepaged: copy a block into a huge page and map that; gives up if a page is missing, shared or in use."""
    host = m.host
    start = hva - hva % host.block
    end = start + host.block
    yield from wait_unlocked(m, start, end)
    if host.huge[start // host.block]:
        return
    yield from kvm_mmu_notifier_invalidate_range_start(m, start, end)
    if collapsible(m, start, end):
        while len(host.pages) % host.block != 0:
            host.pages[host.alloc(-1, 0)].freed = True  # a huge page is naturally aligned
        old = [int(host.clear_pte(page_hva, PTE_BUSY)) for page_hva in range(start, end)]
        for page_hva in range(start, end):
            pfn = host.alloc(page_hva, host.pages[old[page_hva - start]].data)
            host.set_pte(page_hva, pfn, HOST_W | HOST_D)
        for freed in old:
            m.put_page(freed)
        host.huge[start // host.block] = True
    yield from kvm_mmu_notifier_invalidate_range_end(m, start, end)


def collapsible(m: Machine, start: i64, end: i64) -> bool:
    host = m.host
    for hva in range(start, end):
        if host.pte[hva] < 0 or (host.flags[hva] & HOST_SHARED) != 0:
            return False
        if host.pages[host.pte[hva]].refcount != 1:
            return False
    return True
