# SPDX-License-Identifier: GPL-2.0-only
"""The host's own page faults (mm/memory.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .filemap import put_mapping
from .host import HOST_D, HOST_SHARED, HOST_W, PTE_BUSY, PTE_EMPTY, PTE_NONE, PTE_SWAP
from .huge_memory import split_huge_pmd
from .mm import Mm
from .vma import VM_PFNMAP, VM_SHARED, VM_WRITE


def needs_io(mm: Mm, hva: i64) -> bool:
    """Would a fault on it have to read the page first? What the page cache or the swap cache still has is at hand."""
    host = mm.host
    if host.swap_cache[hva] >= 0:
        return False
    return host.pte[hva] == PTE_SWAP


def do_pte_missing(mm: Mm, hva: i64, write: bool) -> None:
    """do_pte_missing() and do_swap_page(): map a page where there is none. Only where nobody has ever been, and in
    anonymous memory, is that a new one."""
    host = mm.host
    if host.pte[hva] != PTE_EMPTY:
        do_swap_page(mm, hva, write)
    elif host.pmd_none[hva // host.block]:
        do_huge_pmd_anonymous_page(mm, hva, write)
    else:
        do_anonymous_page(mm, hva, write)


def do_anonymous_page(mm: Mm, hva: i64, write: bool) -> None:
    """do_anonymous_page(): a read maps the zero page, which copy-on-write replaces."""
    host = mm.host
    if write:
        host.set_pte(hva, host.alloc(hva, 0), HOST_W | HOST_D)
    else:
        host.set_pte(hva, host.alloc_zero_page(hva), HOST_SHARED)


def do_huge_pmd_anonymous_page(mm: Mm, hva: i64, write: bool) -> None:
    """do_huge_pmd_anonymous_page(): a huge page at once. A read maps the huge zero page, which the kernel keeps."""
    host = mm.host
    first, end = host.block_of(hva)
    head = host.alloc_huge(first)
    if not write:
        host.share(head)
    for page_hva in range(first, end):
        host.set_pte(page_hva, head + page_hva - first, HOST_W | HOST_D if write else HOST_SHARED)
    host.huge[first // host.block] = True
    host.pmd_none[first // host.block] = False


def do_swap_page(mm: Mm, hva: i64, write: bool) -> None:
    """Map the page again: from the swap or page cache if it is still there, else read it back. A read gets a
    read-only PTE, except of shmem: a shared mapping without page_mkwrite() is writable, and clean, at once; and of a
    page in swap that is exclusive to the process, which is mapped writable, too.

    Memory that nobody has touched since the start comes here as well."""
    host = mm.host
    swapped = host.pte[hva] == PTE_SWAP and host.is_anonymous(hva)
    shared = swapped and (host.flags[hva] & HOST_SHARED) != 0
    pfn = host.swap_cache[hva]
    if pfn < 0 and not write and maps_zero_page(mm, hva):
        host.set_pte(hva, host.alloc_zero_page(hva), HOST_SHARED)
        return
    if pfn < 0:
        pfn = host.alloc(hva, host.swap[hva])
        give_kind(mm, hva, pfn)
        if shared:  # the other process has the swap entry: the page stays in the swap cache for it
            host.share(pfn)
    flags = HOST_SHARED if shared else fresh_flags(mm, hva, write)
    if swapped and not shared and (host.vma_flags(hva) & VM_WRITE) != 0:
        flags |= HOST_W
    host.set_pte(hva, pfn, flags)  # the cache's reference becomes the mapping's


def maps_zero_page(mm: Mm, hva: i64) -> bool:
    """Is there nothing to be read but zeroes, which may be those of the zero page?"""
    host = mm.host
    return host.pte[hva] == PTE_NONE and host.swap[hva] == 0 and host.kind(hva).zero_page


def fresh_flags(mm: Mm, hva: i64, write: bool) -> i64:
    """HOST_* of a PTE that is made for an access."""
    if write:
        return HOST_W | HOST_D
    vm_flags = mm.host.vma_flags(hva)
    shared = (vm_flags & VM_SHARED) != 0 and (vm_flags & VM_WRITE) != 0
    mkwrite = mm.host.kind(hva).page_mkwrite
    return HOST_W if shared and not mkwrite else 0


def give_kind(mm: Mm, hva: i64, pfn: i64) -> None:
    """The new page is one of its VMA's kind."""
    row = mm.host.kind(hva)
    page = mm.host.pages[pfn]
    page.has_struct = row.has_struct
    page.reserved = row.reserved
    page.zone_device = row.zone_device
    if (row.vm_flags & VM_PFNMAP) != 0:
        page.refcount = page.others = row.drivers()


def do_wp_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """do_wp_page(), do_huge_pmd_wp_page(): a write to a page that is not known to be the process's alone. If it turns
    out to be, it may be written from now on; a huge page that is not is split."""
    host = mm.host
    if wp_can_reuse_anon_folio(mm, hva):
        start, end = host.span(hva)
        for page_hva in range(start, end):
            host.flags[page_hva] &= ~HOST_SHARED
        return
    yield from split_huge_pmd(mm, hva)
    yield from do_wp_page_copy(mm, hva)


def wp_can_reuse_anon_folio(mm: Mm, hva: i64) -> bool:
    """wp_can_reuse_anon_folio(): does nobody else hold the folio, nor have it locked?"""
    pfn = mm.host.pte[hva]
    page = mm.host.pages[pfn]
    if page.head != pfn and page.refcount != 1:  # share_page() counts in the page, even if it is one of a huge page
        return False
    return mm.host.only_mapped(pfn) and mm.host.folio(pfn).locked_by < 0


def do_wp_page_copy(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """wp_page_copy(): break copy-on-write. The old page goes away under everyone who maps it, KVM included, so the
    fault that asked for it makes itself stale."""
    return wp_page_copy(mm, hva, HOST_W | HOST_D)


def unshare_page(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """FAULT_FLAG_UNSHARE: the process gets a page of its own, still mapped read-only."""
    yield from split_huge_pmd(mm, hva)
    yield from wp_page_copy(mm, hva, 0)


def wp_page_copy(mm: Mm, hva: i64, flags: i64) -> Generator[int, None, None]:
    """Replace a shared page by a copy that is mapped with `flags`."""
    host = mm.host
    yield from mm.mmu_notifier_invalidate_range_start(hva, hva + 1)
    # pte_same(): it may have been thrown away meanwhile, and a huge page be there.
    if host.pte[hva] >= 0 and (host.flags[hva] & HOST_SHARED) != 0 and host.mapping_level(hva) == 1:
        old = host.pte[hva]
        new = host.alloc(hva, host.pages[old].data)
        # What is in no swap cache yet is not lost for being clean: add_to_swap() marks it.
        host.pages[new].dirty = (flags & HOST_D) == 0
        host.set_pte(hva, new, flags)
        put_mapping(mm, old)
    yield from mm.mmu_notifier_invalidate_range_end(hva, hva + 1)


def zap_page_range(mm: Mm, start: i64, end: i64, unmapping: bool) -> None:
    """zap_page_range_single() between the notifier's calls: the PTEs of [start, end), which cuts no huge page, are
    cleared. Anonymous contents are gone with them; those of a file stay in the page cache, which nobody looks into
    where the VMA goes, too (`unmapping`)."""
    for hva in range(start, end):
        if unmapping or mm.host.is_anonymous(hva):
            zap_contents(mm, hva)
        elif mm.host.pte[hva] >= 0:
            mm.host.unmap(hva, PTE_NONE)
        elif mm.host.pte[hva] == PTE_BUSY:
            mm.host.pte[hva] = PTE_NONE  # whoever migrates the page finds its entry gone


def empty(mm: Mm, hva: i64, value: i64) -> None:
    """There is nothing at hva any more, nor in swap; `value`: PTE_NONE, or PTE_EMPTY where contents are gone, too."""
    host = mm.host
    host.pte[hva] = value
    host.flags[hva] = 0
    host.swap_cache[hva] = -1
    mm.forget(hva)


def zap_contents(mm: Mm, hva: i64) -> None:
    """zap_pte_range() of a private page: nothing is left, nor in the swap cache (free_swap_and_cache())."""
    host = mm.host
    pfn = host.page_at(hva)
    empty(mm, hva, PTE_EMPTY)
    if pfn >= 0:
        host.pages[pfn].discarded = True
        if host.vm_normal_page(hva):
            put_mapping(mm, pfn)
