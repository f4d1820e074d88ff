# SPDX-License-Identifier: GPL-2.0-only
"""GUP: a reference to the page behind an address (mm/gup.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import GUP_FAULT, GUP_WAIT
from .host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W, PTE_BUSY
from .memory import do_swap_page, do_wp_page_copy
from .mm import Mm


def gup_fast(mm: Mm, hva: i64, write: bool) -> bool:
    """get_user_page_fast_only(): no sleep, no fault, no dirty mark. True: a reference was taken."""
    host = mm.host
    if host.pte[hva] < 0 or (host.flags[hva] & HOST_PROTNONE) != 0:
        return False
    if write and (host.flags[hva] & HOST_W) == 0:
        return False
    host.get(host.pte[hva])
    return True


def faultin_page(mm: Mm, hva: i64, write: bool) -> Generator[int, None, None]:
    """handle_mm_fault(): when it returns, the host PTE allows the access. May sleep; may itself invalidate."""
    mm.might_sleep()
    host = mm.host
    while True:
        yield GUP_FAULT
        while host.pte[hva] == PTE_BUSY:
            mm.hva_waiters[mm.actor] = hva
            yield GUP_WAIT
        if host.pte[hva] < 0:
            do_swap_page(mm, hva, write)
        host.flags[hva] &= ~HOST_PROTNONE
        if not write:
            return
        if (host.flags[hva] & HOST_SHARED) != 0:
            yield from do_wp_page_copy(mm, hva)
            continue
        # wp_page_reuse(), or page_mkwrite() of a page cache page: no copy, so nothing is invalidated.
        host.flags[hva] |= HOST_W | HOST_D
        return
