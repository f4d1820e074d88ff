# SPDX-License-Identifier: GPL-2.0-only
"""Host memory: pages with contents, the host page table of one process, backing store.

Contents are version stamps.  Guest stores stamp a page; copying, writing out and reading back move stamps as the
kernel moves bytes, so a lost dirty bit or a late write becomes data that differs from `reference`, the flat memory
a guest would see if nothing ever went wrong.

A page belongs to one address: where the kernel has a single zero page, there is one here for each address that maps it.
Blocks behind those of the process are the pages of a guest_memfd: what is called their host PTE is the page cache.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from ..bits import bit_ull
from ..rwlock import ModelBug
from .page import GUP_PIN_COUNTING_BIAS, Page
from .vma import EVERY_KIND, VM_PFNMAP, VM_READ, VM_WRITE, MemoryKind

PTE_NONE: Final[i64] = -1  # not present: contents in swap cache or backing store
PTE_BUSY: Final[i64] = -2  # migration entry or locked page: a fault on it waits
PTE_HWPOISON: Final[i64] = -3  # a fault on it ends with VM_FAULT_HWPOISON
PTE_SWAP: Final[i64] = -4  # a swap entry, or the place of a file's page: a fault on it reads the page first
PTE_EMPTY: Final[i64] = -5  # of anonymous memory that is new, or was thrown away: there are no contents

HOST_W: Final[i64] = 1
HOST_D: Final[i64] = 2
HOST_PROTNONE: Final[i64] = 4  # NUMA hinting: present for reclaim, absent for GUP-fast
HOST_SHARED: Final[i64] = (
    8  # not PG_anon_exclusive: another process or KSM maps the page, too, or did; also of PTE_SWAP
)


@mypyc_attr(acyclic=True)
class Host:
    """The process that owns the VM: host PTEs by hva (in pages), pages by pfn, VMAs by block."""

    def __init__(self, backing: tuple[str, ...], bits: i64, gigantic: bool = False) -> None:
        self.block: i64 = bit_ull(bits)
        self.backing = list(backing)
        self.kinds = [EVERY_KIND[kind] for kind in backing]
        n = len(backing) << bits
        self.n: i64 = n
        self.pte: vec[i64] = vec[i64]([PTE_NONE] * n)
        self.flags: vec[i64] = vec[i64]([0] * n)
        self.huge: list[bool] = [False] * len(backing)
        self.huge_level: i64 = 2  # of a huge host PTE, but for those of 1G
        self.pud_huge: list[bool] = [False] * len(backing)  # one host PTE of 1G maps the block, and those around it
        self.pmd_none: list[bool] = [False] * len(backing)  # there is no page table: the next fault may map a huge page
        self.vm_flags: vec[i64] = vec[i64]([0] * len(backing))
        self.swap: vec[i64] = vec[i64]([0] * n)
        self.swap_cache: vec[i64] = vec[i64]([-1] * n)
        self.reference: vec[i64] = vec[i64]([0] * n)
        # Entries of page tables the guest keeps in the page at hva, `block` for each hva. They follow `reference`: that
        # a store to one was lost shows in the stamp.
        self.words: vec[i64] = vec[i64]([])
        self.pages: list[Page] = []
        if gigantic:
            self.find_gigantic()
        for number, row in enumerate(self.kinds):
            self.vm_flags[number] = row.vm_flags
            self.populate(number, row)

    def find_gigantic(self) -> None:
        """What is hugetlb of as many blocks as a block has pages is one page of 1G. It is counted by blocks, each of
        which is a folio."""
        for first in range(0, len(self.backing) - int(self.block) + 1, int(self.block)):
            blocks = range(first, first + int(self.block))
            if all(self.backing[number] == "hugetlb" for number in blocks):
                for number in blocks:
                    self.pud_huge[number] = True

    def set_kind(self, block: i64, kind: str) -> None:
        """That kind of memory is mapped there now."""
        row = EVERY_KIND[kind]
        self.backing[block] = kind
        self.kinds[block] = row
        self.vm_flags[block] = row.vm_flags

    def populate(self, block: i64, row: MemoryKind) -> None:
        """Touch a block as the process would have before handing it to KVM."""
        self.huge[block] = row.huge
        others = row.others + row.drivers()
        flags = HOST_W | HOST_D if row.written else HOST_W if row.writable else 0
        if row.others != 0:
            flags |= HOST_SHARED
        first: i64 = block * self.block
        head: i64 = -1
        if row.huge:
            self.align(self.block * self.block if self.pud_huge[block] and block % self.block == 0 else self.block)
        absent = PTE_HWPOISON if row.poisoned else PTE_SWAP if row.swappable and not row.zero_page else PTE_NONE
        for hva in range(first, first + self.block):
            if not row.present:
                self.pte[hva] = absent
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
            page.others = others
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
        return self.kinds[hva // self.block].swappable

    def vma_flags(self, hva: i64) -> i64:
        """vm_flags of the VMA around hva, 0: there is none."""
        return self.vm_flags[hva // self.block]

    def vma_is_pfnmap(self, hva: i64) -> bool:
        return (self.vm_flags[hva // self.block] & VM_PFNMAP) != 0

    def vm_normal_page(self, hva: i64) -> bool:
        """vm_normal_page(): is what is mapped there, if anything is, a page that the primary MMU may move, share or
        reclaim? What somebody has mapped by pfn is not (pte_special()), even if its VMA is gone already."""
        return (self.kind(hva).vm_flags & VM_PFNMAP) == 0

    def vma_is_valid(self, hva: i64, write: bool) -> bool:
        """vma_is_valid(): does the VMA permit the access?"""
        wanted = VM_READ | VM_WRITE if write else VM_READ
        return (self.vm_flags[hva // self.block] & wanted) == wanted

    def kind(self, hva: i64) -> MemoryKind:
        """What kind of memory is, or was, mapped there?"""
        return self.kinds[hva // self.block]

    def is_anonymous(self, hva: i64) -> bool:
        """vma_is_anonymous()"""
        return self.kind(hva).vm_flags == VM_READ | VM_WRITE

    def is_on_lru(self, hva: i64) -> bool:
        """Is a page there such as reclaim, migration and memory failure deal with? The zero page is not."""
        pfn = self.page_at(hva)
        return (pfn < 0 or not self.pages[pfn].zero) and (self.is_anonymous(hva) or self.kind(hva).swappable)

    def block_of(self, hva: i64) -> tuple[i64, i64]:
        """[first, end) of the block around hva, which is a VMA and may be a huge page."""
        first = hva - hva % self.block
        return first, first + self.block

    # --- pages ------------------------------------------------------------------------------------------------

    def alloc(self, hva: i64, data: i64) -> i64:
        """A new page with its mapping reference; returns its pfn."""
        pfn = len(self.pages)
        page = Page(hva, pfn)
        page.data = data
        self.pages.append(page)
        return pfn

    def align(self, pages: i64) -> None:
        """A huge page of so many pages is naturally aligned: leave pfns out."""
        while len(self.pages) % pages != 0:
            page = self.pages[self.alloc(-1, 0)]
            page.refcount = 0
            page.freed = True

    def alloc_zero_page(self, hva: i64) -> i64:
        """The zero page, as this address maps it. It is counted, and never freed: it belongs to the kernel."""
        pfn = self.alloc(hva, 0)
        page = self.pages[pfn]
        page.zero = page.reserved = True
        self.share(pfn)
        return pfn

    def alloc_huge(self, first: i64) -> i64:
        """A new huge page of zeroes for the block that begins at `first`; returns the pfn of its head."""
        self.align(self.block)
        head = len(self.pages)
        for hva in range(first, first + self.block):
            self.alloc(hva, 0)
        self.make_large(head)
        return head

    def folio(self, pfn: i64) -> Page:
        """page_folio(): where counts and flags of a page stand."""
        return self.pages[self.pages[pfn].head]

    def get(self, pfn: i64) -> None:
        """FOLL_GET: a reference for KVM."""
        folio = self.folio(pfn)
        folio.refcount += 1
        folio.kvm_refs += 1

    def share(self, pfn: i64) -> None:
        """Somebody else has a reference to this very page, for good."""
        self.pages[pfn].refcount += 1
        self.pages[pfn].others += 1

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

    def page_at(self, hva: i64) -> i64:
        """The page that the process has at the address, mapped or in the swap cache; -1: none."""
        return self.pte[hva] if self.pte[hva] >= 0 else self.swap_cache[hva]

    def is_at(self, page: Page) -> bool:
        """Does the process have the page at its address, mapped or in the swap cache?"""
        pfn = self.page_at(page.hva)
        return pfn >= 0 and self.pages[pfn] is page

    def is_locked(self, hva: i64) -> bool:
        """Is the host PTE busy, or the folio that it leads to locked?"""
        if self.pte[hva] == PTE_BUSY:
            return True
        pfn = self.page_at(hva)
        return pfn >= 0 and self.folio(pfn).locked_by >= 0

    def fault_waits(self, hva: i64) -> bool:
        """Would a fault wait for whoever has the page? It locks the page only to map it again. (Whoever takes pages of
        a huge one away has split it, or made its PTEs busy.)"""
        if self.pte[hva] >= 0 or self.pte[hva] == PTE_BUSY:
            return self.pte[hva] == PTE_BUSY
        pfn = self.swap_cache[hva]
        return pfn >= 0 and not self.folio(pfn).large and self.pages[pfn].locked_by >= 0

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
            page.others = 0
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
        """host_pfn_mapping_level(): that of a huge host PTE, else 1."""
        if not self.huge[hva // self.block]:
            return 1
        return 3 if self.pud_huge[hva // self.block] else self.huge_level

    def maps_like(self, other: Host) -> bool:
        """Does the other process have the same pages at all addresses, with the same rights and as large?"""
        for hva in range(self.n):
            if self.pte[hva] != other.pte[hva] or self.mapping_level(hva) != other.mapping_level(hva):
                return False
            if (self.flags[hva] ^ other.flags[hva]) & (HOST_W | HOST_SHARED) != 0:
                return False
        return True

    def span(self, hva: i64) -> tuple[i64, i64]:
        """What one host PTE covers: a notifier for it invalidates that much."""
        if not self.huge[hva // self.block]:
            return hva, hva + 1
        pages = self.block * self.block if self.pud_huge[hva // self.block] else self.block
        first = hva - hva % pages
        return first, first + pages

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

    def unmap(self, hva: i64, value: i64) -> i64:
        """The same of a page that stays in the swap cache, or in the page cache; whether it is shared stays known."""
        shared = self.flags[hva] & HOST_SHARED
        pfn = self.clear_pte(hva, value)
        self.flags[hva] = shared
        self.swap_cache[hva] = pfn
        return pfn

    def remap(self, hva: i64, pfn: i64, flags: i64) -> None:
        """remove_migration_pte(): back after unmap(), and not writable if mprotect() or a fork(), which makes it
        copy-on-write, has come meanwhile. A VMA that is gone has yet to be zapped."""
        if (self.flags[hva] & HOST_SHARED) != 0:
            flags = (flags & ~HOST_W) | HOST_SHARED
        if (self.vma_flags(hva) & VM_WRITE) == 0:
            flags &= ~HOST_W
        self.place(hva, pfn, flags)

    def set_pte(self, hva: i64, pfn: i64, flags: i64) -> None:
        """set_pte_at(). Raises ModelBug for what the VMA does not allow, which mmap_lock is to keep from happening."""
        if not self.vma_is_valid(hva, (flags & HOST_W) != 0):
            raise ModelBug(f"hva {hva}: a host PTE that its VMA does not allow")
        self.place(hva, pfn, flags)

    def place(self, hva: i64, pfn: i64, flags: i64) -> None:
        """The page is mapped from now on."""
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
