# SPDX-License-Identifier: GPL-2.0-only
"""What the process has mapped: the flags of its VMAs (include/linux/mm.h), and the kinds of memory behind them.

A VMA here is a naturally aligned block of 2**bits host pages, the size of a huge page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mypy_extensions import i64

VM_READ: Final[i64] = 1
VM_WRITE: Final[i64] = 2
VM_SHARED: Final[i64] = 4
VM_PFNMAP: Final[i64] = 8  # or VM_IO: whoever mapped it sees to the lifetime of its pages, GUP keeps out


@dataclass(frozen=True)
class MemoryKind:
    """A row of KINDS: a kind of memory, and how the process finds a block of it before KVM begins.

    `vm_flags`   of the VMA.
    `present`    the process has touched every page.
    `huge`       one host PTE maps the whole block, and `large`: its pages are one folio.
    `written`    the host PTEs are writable and dirty, else `writable`: writable and clean.
    `others`     references of somebody else to each page (another process, or the stable tree of KSM).
    `zero_page`  a read of what nobody has touched maps the zero page. Reads of other anonymous memory get a page of
                 their own at once, as where the zero page is forbidden (mm_forbids_zeropage()).
    """

    about: str
    vm_flags: i64 = VM_READ | VM_WRITE
    present: bool = True
    huge: bool = False
    large: bool = False
    written: bool = False
    writable: bool = False
    others: i64 = 0
    zero_page: bool = False
    refcounted: bool = True
    reserved: bool = False
    zone_device: bool = False
    has_struct: bool = True
    poisoned: bool = False
    page_mkwrite: bool = False
    swappable: bool = False  # has a backing store that reclaim can write to, and its pages are on an LRU list

    def drivers(self) -> int:
        """How many references to each page belong to the driver that has mapped it by pfn: it counts no mappings."""
        return 1 if self.refcounted and (self.vm_flags & VM_PFNMAP) != 0 else 0


GUEST_MEMFD: Final = "guest-memfd"
_SHARED: Final = VM_READ | VM_WRITE | VM_SHARED
_PFNMAP: Final = VM_READ | VM_WRITE | VM_SHARED | VM_PFNMAP

KINDS: Final[dict[str, MemoryKind]] = {
    "anon": MemoryKind("anonymous pages of the process alone", written=True, swappable=True),
    "thp": MemoryKind("an anonymous huge page", huge=True, large=True, written=True, swappable=True),
    "file": MemoryKind(
        "page cache of a filesystem that wants to know before a page gets dirty (page_mkwrite)",
        vm_flags=_SHARED,
        written=True,
        page_mkwrite=True,
        swappable=True,
    ),
    "shmem": MemoryKind("shared memory: writable at once, and clean", vm_flags=_SHARED, writable=True, swappable=True),
    "cow": MemoryKind("anonymous pages that another process maps, too, since a fork()", others=1, swappable=True),
    "ksm": MemoryKind("anonymous pages that KSM has merged with others", others=1, swappable=True),
    "untouched": MemoryKind(
        "anonymous memory that nobody has touched: a read maps the zero page",
        present=False,
        zero_page=True,
        swappable=True,
    ),
    "swapped": MemoryKind("anonymous pages that are swapped out", present=False, swappable=True),
    "hugetlb": MemoryKind("a page of hugetlbfs", vm_flags=_SHARED, huge=True, large=True, written=True),
    "fsdax": MemoryKind(
        "a file on persistent memory, small folios under a huge host PTE",
        vm_flags=_SHARED,
        huge=True,
        written=True,
        reserved=True,
        zone_device=True,
    ),
    "devdax": MemoryKind(
        "a device of persistent memory, a large folio",
        vm_flags=_SHARED,
        huge=True,
        large=True,
        written=True,
        reserved=True,
        zone_device=True,
    ),
    "pfnmap-nostruct": MemoryKind(
        "memory of a device, without struct page", vm_flags=_PFNMAP, writable=True, refcounted=False, has_struct=False
    ),
    "pfnmap-refcounted": MemoryKind("pages that a driver has mapped by pfn", vm_flags=_PFNMAP, writable=True),
    "pfnmap-unrefcounted": MemoryKind(
        "tails of a higher-order allocation, whose own count is 0, mapped by pfn",
        vm_flags=_PFNMAP,
        writable=True,
        refcounted=False,
    ),
    "pfnmap-reserved": MemoryKind(
        "reserved pages that a driver has mapped by pfn", vm_flags=_PFNMAP, writable=True, reserved=True
    ),
    "hwpoison": MemoryKind("anonymous pages that had a memory error", present=False, poisoned=True),
    "readonly": MemoryKind("a private mapping of a file that may only be read", vm_flags=VM_READ),
}
"""Every kind of memory by its name in a configuration."""

EVERY_KIND: Final[dict[str, MemoryKind]] = {
    **KINDS,
    GUEST_MEMFD: MemoryKind("pages of a guest_memfd, which no VMA maps and nobody takes away", 0, present=False),
}
"""Kinds of memory by name, those included that no process can map."""
