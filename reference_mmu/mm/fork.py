# SPDX-License-Identifier: GPL-2.0-only
"""fork() as the memory of the parent sees it (dup_mmap(): kernel/fork.c; copy_page_range(): mm/memory.c).

The child holds its references for good: it neither writes nor ends.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import MMAP_WRITE
from .host import HOST_SHARED, HOST_W, PTE_BUSY, PTE_SWAP
from .mm import Mm


def dup_mmap(mm: Mm) -> Generator[int, None, None]:
    """dup_mmap(): every private VMA becomes copy-on-write, one after the other, with mmap_lock held for write."""
    host = mm.host
    yield MMAP_WRITE
    mm.mmap_lock.write_lock(mm.actor)
    for first in range(0, host.n, host.block):
        if host.is_anonymous(first) and host.vma_flags(first) != 0:  # vma_needs_copy()
            end = host.block_of(first)[1]
            yield from mm.mmu_notifier_invalidate_range_start(first, end)
            copy_page_range(mm, first, end)
            yield from mm.mmu_notifier_invalidate_range_end(first, end)
    mm.mmap_lock.write_unlock(mm.actor)


def copy_page_range(mm: Mm, start: i64, end: i64) -> None:
    """copy_page_range() of one VMA. mmap_lock held for write: GUP-fast would miss that a page is shared now."""
    mm.lockdep_assert(mm.mmap_lock.held[mm.actor] < 0)
    for hva in range(start, end):
        copy_pte(mm, hva)


def copy_pte(mm: Mm, hva: i64) -> None:
    """copy_present_pte(), copy_nonpresent_pte(): both processes have the page now, neither may write it. Of a page that
    may be pinned the child gets a copy instead (folio_try_dup_anon_rmap_pte())."""
    host = mm.host
    if host.pte[hva] == PTE_SWAP:
        host.flags[hva] |= HOST_SHARED
    pfn = host.pte[hva] if host.pte[hva] != PTE_BUSY else host.swap_cache[hva]
    if pfn < 0 or host.pages[pfn].zero:
        return
    if (host.flags[hva] & HOST_SHARED) == 0 and host.maybe_dma_pinned(pfn):
        return
    host.flags[hva] = (host.flags[hva] & ~HOST_W) | HOST_SHARED
    host.share(host.folio(pfn).head)
