# SPDX-License-Identifier: GPL-2.0-only
"""Page migration (mm/migrate.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import INV_CLEAN, INV_IO
from .filemap import folio_trylock, folio_unlock, unlock_if_taken, wait_unlocked
from .host import PTE_BUSY
from .huge_memory import split_huge_pmd
from .mm import Mm


def migrate_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """migrate_pages() of one small page: gives up if anybody else holds a reference."""
    host = mm.host
    if not host.is_on_lru(hva):
        return
    yield from split_huge_pmd(mm, hva)
    yield from wait_unlocked(mm, hva, hva + 1)
    old = folio_trylock(mm, hva) if host.pte[hva] >= 0 else -1
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] >= 0 and host.pte[hva] != old:  # a fault has mapped another one meanwhile, it will do as well
        unlock_if_taken(mm, old)
        old = folio_trylock(mm, hva)
    if host.pte[hva] < 0 or host.pte[hva] != old or host.mapping_level(hva) > 1:
        yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
        unlock_if_taken(mm, old)
        return
    flags = host.flags[hva]
    host.clear_pte(hva, PTE_BUSY)
    yield INV_CLEAN
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
    yield INV_IO
    move_to_new_folio(mm, hva, old, flags)
    folio_unlock(mm, old)


def move_to_new_folio(mm: Mm, hva: i64, old: i64, flags: i64) -> None:
    """move_to_new_folio() and remove_migration_ptes(): copied, if nobody else holds the old page; then the entry that
    was left leads to one of the two again, unless it was zapped."""
    host = mm.host
    if host.swap_cache[hva] != old:
        return
    mapped = host.pte[hva] == PTE_BUSY
    if not host.only_mapped(old):
        if mapped:
            host.remap(hva, old, flags)
        return
    new = host.alloc(hva, host.pages[old].data)
    host.pages[new].dirty = host.folio(old).dirty
    if mapped:
        host.remap(hva, new, flags)
    else:
        host.swap_cache[hva] = new
    mm.put_page(old)
