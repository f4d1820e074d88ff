# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for a page that somebody else has locked or migrates (folio_lock(), migration_entry_wait(): mm/filemap.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import MM_WAIT
from .host import PTE_BUSY
from .mm import Mm


def wait_unlocked(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """Wait until no page of the range is locked or migrating (another thread's doing)."""
    for hva in range(start, end):
        while mm.host.pte[hva] == PTE_BUSY:
            mm.hva_waiters[mm.actor] = hva
            yield MM_WAIT
