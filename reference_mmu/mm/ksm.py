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
    """fork() or KSM: another process maps the page, too; both see it read-only until one writes."""
    yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, hva, hva + 1)
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] >= 0 and (host.flags[hva] & HOST_SHARED) == 0:
        host.flags[hva] = (host.flags[hva] & ~HOST_W) | HOST_SHARED
        host.pages[host.pte[hva]].refcount += 1
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
