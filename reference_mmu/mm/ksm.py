# SPDX-License-Identifier: GPL-2.0-only
"""Sharing a page copy-on-write (fork() in mm/memory.c, or KSM in mm/ksm.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .filemap import wait_unlocked
from .host import HOST_SHARED, HOST_W
from .huge_memory import split_huge_pmd
from .mm import Mm


def share_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """fork() or KSM: another process maps the page, too; both see it read-only until one writes. Of a page that may be
    pinned fork() makes a copy for the child (folio_try_dup_anon_rmap_pte()), and KSM leaves it alone."""
    yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, hva, hva + 1)
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    pfn = host.pte[hva]
    if pfn >= 0 and may_share(mm, hva, pfn):
        host.flags[hva] = (host.flags[hva] & ~HOST_W) | HOST_SHARED
        host.pages[pfn].refcount += 1
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)


def may_share(mm: Mm, hva: i64, pfn: i64) -> bool:
    """Is it a page of the process's own that nobody else relies on?"""
    host = mm.host
    return host.vm_normal_page(hva) and (host.flags[hva] & HOST_SHARED) == 0 and not host.maybe_dma_pinned(pfn)
