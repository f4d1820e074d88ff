# SPDX-License-Identifier: GPL-2.0-only
"""The lock of a page, PG_locked of its folio, and waiting for it (mm/filemap.c; migration_entry_wait() is in
mm/migrate.c).

Order of locks: mmap_lock, the folio's, then what mmu_notifiers take.  Who has a folio locked waits for neither
mmap_lock nor another folio.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import MM_WAIT
from .host import PTE_BUSY, Host
from .mm import Mm


def wait_unlocked(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """Wait until no page of the range is locked or migrating (another thread's doing)."""
    for hva in range(start, end):
        while mm.host.is_locked(hva):
            mm.hva_waiters[mm.actor] = hva
            yield MM_WAIT


def folio_lock(mm: Mm, hva: i64) -> Generator[int, None, i64]:
    """folio_lock(): wait for the page at hva and lock its folio. The page, or -1 if there is none."""
    yield from wait_unlocked(mm, hva, hva + 1)
    return folio_trylock(mm, hva)


def folio_trylock(mm: Mm, hva: i64) -> i64:
    """folio_trylock() of the page at hva: the page, or -1 if there is none, or somebody else has it."""
    host = mm.host
    pfn = host.page_at(hva)
    if host.pte[hva] == PTE_BUSY or pfn < 0 or host.folio(pfn).locked_by >= 0:
        return -1
    host.folio(pfn).locked_by = mm.actor
    return pfn


def folio_unlock(mm: Mm, pfn: i64) -> None:
    """folio_unlock(), and what zap_page_range() has left behind (Page.orphans) goes."""
    folio = mm.host.folio(pfn)
    folio.locked_by = -1
    put_orphans(mm, pfn)


def unlock_if_taken(mm: Mm, pfn: i64) -> None:
    """The same of what folio_lock() or folio_trylock() has returned, if that was a page."""
    if pfn >= 0:
        folio_unlock(mm, pfn)


def put_orphans(mm: Mm, pfn: i64) -> None:
    """Drop the references of mappings that were zapped while the folio was locked."""
    folio = mm.host.folio(pfn)
    while folio.orphans > 0:
        folio.orphans -= 1
        mm.put_page(pfn)


def put_mapping(mm: Mm, pfn: i64) -> None:
    """A mapping of the page is gone. While the folio is locked it must stay for whoever has locked it."""
    folio = mm.host.folio(pfn)
    if folio.locked_by >= 0 and folio.locked_by != mm.actor:
        folio.orphans += 1
    else:
        mm.put_page(pfn)


def move_lock(host: Host, head: i64, pfn: i64) -> None:
    """After a split: the lock of the folio is that of one of its pages."""
    actor = host.pages[head].locked_by
    host.pages[head].locked_by = -1
    host.pages[pfn].locked_by = actor
