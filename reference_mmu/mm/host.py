# SPDX-License-Identifier: GPL-2.0-only
"""Host memory: pages with contents, the host page table of one process, backing store.

Contents are version stamps.  Guest stores stamp a page; copying, writing out and reading back move stamps as the
kernel moves bytes, so a lost dirty bit or a late write becomes data that differs from `reference`, the flat memory
a guest would see if nothing ever went wrong.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from ..bits import bit_ull
from .page import Page

PTE_NONE: Final[i64] = -1  # not present: contents in swap cache or backing store
PTE_BUSY: Final[i64] = -2  # migration entry or locked page: a fault on it waits

HOST_W: Final[i64] = 1
HOST_D: Final[i64] = 2
HOST_PROTNONE: Final[i64] = 4  # NUMA hinting: present for reclaim, absent for GUP-fast
HOST_SHARED: Final[i64] = 8  # copy-on-write: another process or KSM maps the page, too


class Host:
    """The process that owns the VM: host PTEs by hva (in pages), pages by pfn."""

    def __init__(self, backing: tuple[str, ...], bits: i64) -> None:
        self.block: i64 = bit_ull(bits)
        self.backing = list(backing)
        n = len(backing) << bits
        self.n: i64 = n
        self.pte: vec[i64] = vec[i64]([PTE_NONE] * n)
        self.flags: vec[i64] = vec[i64]([0] * n)
        self.huge: list[bool] = [False] * len(backing)
        self.swap: vec[i64] = vec[i64]([0] * n)
        self.swap_cache: vec[i64] = vec[i64]([-1] * n)
        self.reference: vec[i64] = vec[i64]([0] * n)
        # Entries of page tables the guest keeps in the page at hva, `block` for each hva. They follow `reference`: that
        # a store to one was lost shows in the stamp.
        self.words: vec[i64] = vec[i64]([])
        self.pages: list[Page] = []
        for number, kind in enumerate(backing):
            self.populate(number, kind)

    def populate(self, block: i64, kind: str) -> None:
        """Touch a block as the process would have before handing it to KVM."""
        flags = HOST_SHARED if kind == "cow" else HOST_W if kind == "shmem" else HOST_W | HOST_D
        self.huge[block] = kind == "thp"
        for hva in range(block * self.block, (block + 1) * self.block):
            self.pte[hva] = self.alloc(hva, 0)
            self.flags[hva] = flags
            if kind == "cow":
                self.pages[self.pte[hva]].refcount += 1  # the other process

    def keep_words(self) -> None:
        """The guest has page tables of its own."""
        self.words = vec[i64]([0] * (self.n * self.block))

    def clear_words(self, hva: i64) -> None:
        """The page's contents are gone."""
        if len(self.words) != 0:
            for index in range(self.block):
                self.words[hva * self.block + index] = 0

    def alloc(self, hva: i64, data: i64) -> i64:
        """A new page with its mapping reference; returns its pfn."""
        page = Page(hva)
        page.data = data
        self.pages.append(page)
        return len(self.pages) - 1

    def get(self, pfn: i64) -> None:
        """GUP: a reference for KVM."""
        page = self.pages[pfn]
        page.refcount += 1
        page.kvm_refs += 1

    def put(self, pfn: i64) -> None:
        """Drop a reference; the last one frees the page."""
        page = self.pages[pfn]
        page.refcount -= 1
        if page.refcount == 0:
            page.freed = True

    def mapping_level(self, hva: i64) -> i64:
        """host_pfn_mapping_level(): 2 under a huge host PTE, else 1."""
        return 2 if self.huge[hva // self.block] else 1

    def span(self, hva: i64) -> tuple[i64, i64]:
        """What one host PTE covers: a notifier for it invalidates that much."""
        if not self.huge[hva // self.block]:
            return hva, hva + 1
        first = hva - hva % self.block
        return first, first + self.block

    def clear_pte(self, hva: i64, value: i64) -> i64:
        """ptep_clear_flush(): returns the pfn; a dirty PTE makes the page dirty. While the new value is PTE_BUSY the
        page stays reachable through swap_cache."""
        pfn = self.pte[hva]
        if (self.flags[hva] & HOST_D) != 0:
            self.pages[pfn].dirty = True
        self.pte[hva] = value
        self.flags[hva] = 0
        self.swap_cache[hva] = pfn if value == PTE_BUSY else -1
        return pfn

    def set_pte(self, hva: i64, pfn: i64, flags: i64) -> None:
        self.pte[hva] = pfn
        self.flags[hva] = flags
        self.swap_cache[hva] = -1
        self.pages[pfn].hva = hva

    def contents(self, hva: i64) -> i64:
        """What the process would read at `hva` now."""
        pfn = self.pte[hva]
        if pfn < 0:
            pfn = self.swap_cache[hva]
        return self.swap[hva] if pfn < 0 else self.pages[pfn].data
