# SPDX-License-Identifier: GPL-2.0-only
"""Host memory: pages with contents, the host page table of one process, backing store.

Contents are version stamps.  Guest stores stamp a page; copying, writing out and reading back move stamps as the
kernel moves bytes, so a lost dirty bit or a late write becomes data that differs from `reference`, the flat memory
a guest would see if nothing ever went wrong.

A page belongs to one address: where the kernel has a single zero page, there is one here for each address that maps it.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from ..bits import bit_ull
from .page import GUP_PIN_COUNTING_BIAS, Page
from .vma import KINDS, VM_PFNMAP, VM_READ, VM_WRITE

PTE_NONE: Final[i64] = -1  # not present: contents in swap cache or backing store
PTE_BUSY: Final[i64] = -2  # migration entry or locked page: a fault on it waits
PTE_HWPOISON: Final[i64] = -3  # a fault on it ends with VM_FAULT_HWPOISON
PTE_SWAP: Final[i64] = -4  # a swap entry: a fault on it reads the page first

HOST_W: Final[i64] = 1
HOST_D: Final[i64] = 2
HOST_PROTNONE: Final[i64] = 4  # NUMA hinting: present for reclaim, absent for GUP-fast
HOST_SHARED: Final[i64] = 8  # copy-on-write: another process or KSM maps the page, too


class Host:
    """The process that owns the VM: host PTEs by hva (in pages), pages by pfn, VMAs by block."""

    def __init__(self, backing: tuple[str, ...], bits: i64) -> None:
        self.block: i64 = bit_ull(bits)
        self.backing = list(backing)
        self.saved = [KINDS[kind].swappable for kind in backing]
        n = len(backing) << bits
        self.n: i64 = n
        self.pte: vec[i64] = vec[i64]([PTE_NONE] * n)
        self.flags: vec[i64] = vec[i64]([0] * n)
        self.huge: list[bool] = [False] * len(backing)
        self.vm_flags: vec[i64] = vec[i64]([0] * len(backing))
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
        row = KINDS[kind]
        self.vm_flags[block] = row.vm_flags
        self.huge[block] = row.huge
        flags = HOST_W | HOST_D if row.written else HOST_W if row.writable else 0
        if row.others != 0:
            flags |= HOST_SHARED
        first: i64 = block * self.block
        head: i64 = -1
        if row.huge:
            self.align()
        for hva in range(first, first + self.block):
            if not row.present:
                self.pte[hva] = (
                    PTE_HWPOISON if row.poisoned else PTE_SWAP if row.swappable and not row.zero_page else PTE_NONE
                )
                continue
            pfn = self.alloc(hva, 0)
            page = self.pages[pfn]
            if row.large:
                if head < 0:
                    head = pfn
                    page.large = True
                    page.refcount = self.block
                page.head = head
            page.refcount += row.others
            if not row.refcounted:
                page.refcount = 0
            page.reserved = row.reserved
            page.zone_device = row.zone_device
            page.has_struct = row.has_struct
            self.pte[hva] = pfn
            self.flags[hva] = flags

    def keep_words(self) -> None:
        """The guest has page tables of its own."""
        self.words = vec[i64]([0] * (self.n * self.block))

    def clear_words(self, hva: i64) -> None:
        """The page's contents are gone."""
        if len(self.words) != 0:
            for index in range(self.block):
                self.words[hva * self.block + index] = 0

    # --- VMAs -------------------------------------------------------------------------------------------------

    def is_saved(self, hva: i64) -> bool:
        """Does the memory have a backing store, which reclaim writes to before it drops a dirty page?"""
        return self.saved[hva // self.block]

    def vma_flags(self, hva: i64) -> i64:
        """vm_flags of the VMA around hva, 0: there is none."""
        return self.vm_flags[hva // self.block]

    def vma_is_pfnmap(self, hva: i64) -> bool:
        return (self.vm_flags[hva // self.block] & VM_PFNMAP) != 0

    def vm_normal_page(self, hva: i64) -> bool:
        """vm_normal_page(): is what is mapped there, if anything is, a page that the primary MMU may move, share or
        reclaim? What somebody has mapped by pfn is not."""
        return not self.vma_is_pfnmap(hva)

    def vma_is_valid(self, hva: i64, write: bool) -> bool:
        """vma_is_valid(): does the VMA permit the access?"""
        wanted = VM_READ | VM_WRITE if write else VM_READ
        return (self.vm_flags[hva // self.block] & wanted) == wanted

    # --- pages ------------------------------------------------------------------------------------------------

    def alloc(self, hva: i64, data: i64) -> i64:
        """A new page with its mapping reference; returns its pfn."""
        pfn = len(self.pages)
        page = Page(hva, pfn)
        page.data = data
        self.pages.append(page)
        return pfn

    def align(self) -> None:
        """A huge page is naturally aligned: leave pfns out."""
        while len(self.pages) % self.block != 0:
            self.pages[self.alloc(-1, 0)].freed = True

    def alloc_zero_page(self, hva: i64) -> i64:
        """The zero page, as this address maps it. It is counted, and never freed: it belongs to the kernel."""
        pfn = self.alloc(hva, 0)
        page = self.pages[pfn]
        page.zero = page.reserved = True
        page.refcount = 2
        return pfn

    def folio(self, pfn: i64) -> Page:
        """page_folio(): where counts and flags of a page stand."""
        return self.pages[self.pages[pfn].head]

    def get(self, pfn: i64) -> None:
        """FOLL_GET: a reference for KVM."""
        folio = self.folio(pfn)
        folio.refcount += 1
        folio.kvm_refs += 1

    def pin(self, pfn: i64) -> None:
        """FOLL_PIN: a pin for KVM (try_grab_folio()). The zero page is not counted."""
        folio = self.folio(pfn)
        if folio.zero:
            return
        folio.kvm_pins += 1
        if folio.large:
            folio.refcount += 1
            folio.pincount += 1
        else:
            folio.refcount += GUP_PIN_COUNTING_BIAS

    def unpin(self, pfn: i64) -> None:
        """unpin_user_page(); the caller has its books in order."""
        folio = self.folio(pfn)
        if folio.zero:
            return
        folio.kvm_pins -= 1
        if folio.large:
            folio.pincount -= 1
            self.put(pfn)
        else:
            folio.refcount -= GUP_PIN_COUNTING_BIAS - 1
            self.put(pfn)

    def put(self, pfn: i64) -> None:
        """Drop a reference; the last one frees the folio."""
        folio = self.folio(pfn)
        folio.refcount -= 1
        if folio.refcount == 0:
            for page in self.pages_of(pfn):
                page.freed = True

    def make_large(self, first: i64) -> None:
        """The block of pages from `first` on, each mapped once, becomes one folio."""
        folio = self.pages[first]
        folio.large = True
        for at in range(first, first + self.block):
            self.pages[at].head = first
        folio.refcount = self.block

    def pages_of(self, pfn: i64) -> list[Page]:
        """All pages of a page's folio."""
        folio = self.folio(pfn)
        if not folio.large:
            return [folio]
        first = folio.head
        return [page for page in self.pages[first : first + self.block] if page.head == first]

    def maybe_dma_pinned(self, pfn: i64) -> bool:
        """folio_maybe_dma_pinned()"""
        folio = self.folio(pfn)
        return folio.pincount > 0 if folio.large else folio.refcount >= GUP_PIN_COUNTING_BIAS

    def only_mapped(self, pfn: i64) -> bool:
        """folio_ref_count() == folio_expected_ref_count(): nobody holds the folio but page tables and swap cache."""
        folio = self.folio(pfn)
        if not folio.large:
            return folio.refcount == 1
        own: i64 = 0
        for page in self.pages_of(pfn):
            if self.is_at(page):
                own += 1
        return folio.refcount == own

    def is_at(self, page: Page) -> bool:
        """Does the process have the page at its address, mapped or in the swap cache?"""
        pfn = self.pte[page.hva] if self.pte[page.hva] >= 0 else self.swap_cache[page.hva]
        return pfn >= 0 and self.pages[pfn] is page

    def split_folio(self, pfn: i64) -> bool:
        """split_folio(): every page is a folio of its own from now on. False if somebody else holds the folio. Pages
        that nobody maps any more are freed."""
        folio = self.folio(pfn)
        if not folio.large:
            return True
        if not self.only_mapped(pfn):
            return False
        for page in self.pages_of(pfn):
            mapped = self.is_at(page)
            page.refcount = 1 if mapped else 0
            page.freed = not mapped
            page.dirty = folio.dirty
            page.accessed = folio.accessed
            page.cleaned = folio.cleaned
        # Heads last: until here pages_of() must find them.
        first = folio.head
        folio.large = False
        for at in range(first, first + self.block):
            if self.pages[at].head == first:
                self.pages[at].head = at
        return True

    # --- the host page table ----------------------------------------------------------------------------------

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
            self.folio(pfn).dirty = True
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
