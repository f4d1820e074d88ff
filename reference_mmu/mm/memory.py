# SPDX-License-Identifier: GPL-2.0-only
"""The host's own page faults (mm/memory.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .host import HOST_D, HOST_SHARED, HOST_W, PTE_NONE, PTE_SWAP
from .mm import Mm
from .vma import KINDS, VM_PFNMAP, VM_SHARED, VM_WRITE


def needs_io(mm: Mm, hva: i64) -> bool:
    """Would a fault on it have to read the page first? What the page cache or the swap cache still has is at hand."""
    host = mm.host
    if host.swap_cache[hva] >= 0:
        return False
    return host.pte[hva] == PTE_SWAP


def do_swap_page(mm: Mm, hva: i64, write: bool) -> None:
    """Map the page again: from the swap or page cache if it is still there, else read it back. A read gets a
    read-only PTE, except of shmem: a shared mapping without page_mkwrite() is writable, and clean, at once.

    Memory that nobody has touched comes here, too: do_anonymous_page()."""
    host = mm.host
    pfn = host.swap_cache[hva]
    if pfn < 0 and not write and maps_zero_page(mm, hva):
        host.set_pte(hva, host.alloc_zero_page(hva), HOST_SHARED)
        return
    if pfn < 0:
        pfn = host.alloc(hva, host.swap[hva])
        give_kind(mm, hva, pfn)
    host.set_pte(hva, pfn, fresh_flags(mm, hva, write))  # the cache's reference becomes the mapping's


def maps_zero_page(mm: Mm, hva: i64) -> bool:
    """Is there nothing to be read but zeroes, which may be those of the zero page?"""
    host = mm.host
    return host.pte[hva] == PTE_NONE and host.swap[hva] == 0 and KINDS[host.backing[hva // host.block]].zero_page


def fresh_flags(mm: Mm, hva: i64, write: bool) -> i64:
    """HOST_* of a PTE that is made for an access."""
    if write:
        return HOST_W | HOST_D
    vm_flags = mm.host.vma_flags(hva)
    shared = (vm_flags & VM_SHARED) != 0 and (vm_flags & VM_WRITE) != 0
    mkwrite = KINDS[mm.host.backing[hva // mm.host.block]].page_mkwrite
    return HOST_W if shared and not mkwrite else 0


def give_kind(mm: Mm, hva: i64, pfn: i64) -> None:
    """The new page is one of its VMA's kind."""
    row = KINDS[mm.host.backing[hva // mm.host.block]]
    page = mm.host.pages[pfn]
    page.has_struct = row.has_struct
    page.reserved = row.reserved
    page.zone_device = row.zone_device
    if not row.refcounted and (row.vm_flags & VM_PFNMAP) != 0:
        page.refcount = 0


def do_wp_page_copy(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """wp_page_copy(): break copy-on-write. The old page goes away under everyone who maps it, KVM included, so the
    fault that asked for it makes itself stale."""
    return wp_page_copy(mm, hva, HOST_W | HOST_D)


def unshare_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """FAULT_FLAG_UNSHARE: the process gets a page of its own, still mapped read-only."""
    return wp_page_copy(mm, hva, 0)


def wp_page_copy(mm: Mm, hva: i64, flags: i64) -> Generator[int, None, None]:
    """Replace a shared page by a copy that is mapped with `flags`."""
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] >= 0 and (host.flags[hva] & HOST_SHARED) != 0:
        old = host.pte[hva]
        new = host.alloc(hva, host.pages[old].data)
        # What is in no swap cache yet is not lost for being clean: add_to_swap() marks it.
        host.pages[new].dirty = (flags & HOST_D) == 0
        host.set_pte(hva, new, flags)
        mm.put_page(old)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
