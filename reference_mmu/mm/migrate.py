# SPDX-License-Identifier: GPL-2.0-only
"""Page migration (mm/migrate.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import INV_CLEAN, INV_IO
from .filemap import wait_unlocked
from .host import PTE_BUSY
from .huge_memory import split_huge_pmd
from .mm import Mm


def migrate_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """migrate_pages() of one small page: gives up if anybody else holds a reference."""
    yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, hva, hva + 1)
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] < 0 or not host.vm_normal_page(hva):
        yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
        return
    flags = host.flags[hva]
    old = host.clear_pte(hva, PTE_BUSY)
    yield INV_CLEAN
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
    yield INV_IO
    if not host.only_mapped(old):
        host.set_pte(hva, old, flags)
        return
    new = host.alloc(hva, host.pages[old].data)
    host.pages[new].dirty = host.folio(old).dirty
    host.set_pte(hva, new, flags)
    mm.put_page(old)
