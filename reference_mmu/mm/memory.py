# SPDX-License-Identifier: GPL-2.0-only
"""The host's own page faults (mm/memory.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .host import HOST_D, HOST_SHARED, HOST_W
from .mm import Mm


def do_swap_page(mm: Mm, hva: i64, write: bool) -> None:
    """Map the page again: from the swap or page cache if it is still there, else read it back. A read gets a
    read-only PTE, except of shmem: a shared mapping without page_mkwrite() is writable, and clean, at once."""
    host = mm.host
    pfn = host.swap_cache[hva]
    if pfn < 0:
        pfn = host.alloc(hva, host.swap[hva])
    flags = HOST_W if host.backing[hva // host.block] == "shmem" else 0
    host.set_pte(hva, pfn, HOST_W | HOST_D if write else flags)  # the cache's reference becomes the mapping's


def do_wp_page_copy(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """wp_page_copy(): break copy-on-write. The old page goes away under everyone who maps it, KVM included, so the
    fault that asked for it makes itself stale."""
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] >= 0 and (host.flags[hva] & HOST_SHARED) != 0:
        old = host.pte[hva]
        new = host.alloc(hva, host.pages[old].data)
        host.set_pte(hva, new, HOST_W | HOST_D)
        mm.put_page(old)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
