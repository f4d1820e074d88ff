# SPDX-License-Identifier: GPL-2.0-only
"""Merging pages of the same contents (mm/ksm.c); and sharing one, in short, for whatever reason."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import KSM_COMPARE, MMAP_READ
from .filemap import folio_trylock, folio_unlock, put_mapping, wait_unlocked
from .host import HOST_D, HOST_SHARED, HOST_W
from .huge_memory import split_huge_page, split_huge_pmd
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
        host.share(pfn)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)


def may_share(mm: Mm, hva: i64, pfn: i64) -> bool:
    """Is it a page of the process's own that nobody else relies on?"""
    host = mm.host
    return host.vm_normal_page(hva) and (host.flags[hva] & HOST_SHARED) == 0 and not host.maybe_dma_pinned(pfn)


def try_to_merge_with_ksm_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """try_to_merge_with_ksm_page(): another process has a page of what ksmd has read here, and the two become one
    unless this is written meanwhile. ksmd holds mmap_lock of the process for read."""
    host = mm.host
    if not mm.mmap_lock.can_read():
        yield MMAP_READ
    mm.mmap_lock.read_lock(mm.actor)
    # find_mergeable_vma(), and PageAnon()
    mergeable = host.vma_flags(hva) != 0 and host.is_anonymous(hva) and host.is_on_lru(hva)
    pfn = folio_trylock(mm, hva) if mergeable else -1
    if pfn >= 0:
        scanned = host.pages[pfn].data
        split = yield from split_huge_page(mm, pfn)
        if split:
            protected = yield from write_protect_page(mm, hva, pfn)
            if protected:
                yield KSM_COMPARE
                if host.pages[pfn].data == scanned:  # pages_identical()
                    yield from replace_page(mm, hva, pfn)
        folio_unlock(mm, pfn)
    mm.mmap_lock.read_unlock(mm.actor)


def write_protect_page(mm: Mm, hva: i64, pfn: i64) -> Generator[int, None, bool]:
    """write_protect_page(): nobody writes the page from now on without copying it. False: somebody holds a reference,
    and might write through that."""
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    alone = host.pte[hva] == pfn and host.only_mapped(pfn)
    if alone:
        if (host.flags[hva] & HOST_D) != 0:
            host.folio(pfn).dirty = True
        host.flags[hva] = (host.flags[hva] & ~(HOST_W | HOST_D)) | HOST_SHARED
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
    return alone


def replace_page(mm: Mm, hva: i64, pfn: i64) -> Generator[int, None, None]:
    """replace_page(): the page of the stable tree takes the place of this one, if the PTE is as it was left. A page
    belongs to one address here: it is a new one that others hold, too."""
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    if host.pte[hva] == pfn and (host.flags[hva] & HOST_W) == 0:
        kpage = host.alloc(hva, host.pages[pfn].data)
        host.share(kpage)
        host.pages[kpage].dirty = host.folio(pfn).dirty
        host.set_pte(hva, kpage, HOST_SHARED)
        put_mapping(mm, pfn)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)
