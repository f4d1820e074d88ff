# SPDX-License-Identifier: GPL-2.0-only
"""What an observer reads of a machine, the oracles above all: its page tables and TLBs, without a point, an Accessed
bit or a count.

What an entry of a page table says is the architecture's; the rest follows from that wherever guest frames are what a
page table translates.  An architecture whose tables may translate something else overrides that, too.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from ..bits import bit_ull
from ..config import Config
from ..mm.mm import Mm
from ..points import PointTable
from ..rwlock import RwLock
from .gmem import KvmGmem
from .locks import ReadSections
from .memslots import KvmMemorySlot, search_memslots
from .page_table import PageTable
from .vcpu import KvmVcpu

# What an entry of a page table is: nothing, on its way out (somebody is taking it away at the moment), or what leads to
# a table or to a page.
PTE_NONE: Final[i64] = 0
PTE_FROZEN: Final[i64] = 1
PTE_TABLE: Final[i64] = 2
PTE_LEAF: Final[i64] = 3

MMU_INVALIDATE_SEQ_MAX: Final[i64] = (1 << 32) - 1
MMU_INVALIDATE_SEQ_START: Final[i64] = MMU_INVALIDATE_SEQ_MAX - 1
"""mmu_invalidate_seq is an unsigned long, of 32 bits here, and about to wrap: who does more than compare it for
equality is found out."""

# When KVM marks the page dirty that a leaf lets the guest write: Observable.dirty_marks().
MARKS_AT_MAP: Final[i64] = 0  # before it releases the mmu_lock under which it made the leaf
MARKS_AT_ZAP: Final[i64] = 1  # before it releases the mmu_lock under which the leaf has lost what told of the write
MARKS_LATER: Final[i64] = 2  # after it has released mmu_lock

# In what two leaves of one page differ: Observable.leaf_difference().
LEAF_ACCESSED: Final = 1
LEAF_DIRTY: Final = 2
LEAF_ELSE: Final = 4


class Observable(Mm):
    """The part of a machine that can be read; mmu_invalidate_* and those from memslots on are fields of struct kvm."""

    def __init__(self, config: Config, points: PointTable, actors: i64) -> None:
        super().__init__(config, actors)
        self.points = points  # of the architecture
        self.bits: i64 = config.bits
        self.levels: i64 = config.levels
        self.entries: i64 = bit_ull(self.bits)
        self.word_gfns: i64 = config.word_gfns

        self.mmu_lock = RwLock(actors)
        self.srcu = ReadSections(actors)
        self.rcu = ReadSections(actors)
        self.rcu_callbacks: list[PageTable] = []

        self.mmu_invalidate_seq: i64 = MMU_INVALIDATE_SEQ_START
        self.mmu_invalidate_in_progress: i64 = 0
        self.mmu_invalidate_range_start: i64 = 0
        self.mmu_invalidate_range_end: i64 = 0
        self.mn_active_invalidate_count: i64 = 0
        self.memslots: list[KvmMemorySlot] = []
        self.gmem: KvmGmem | None = None
        self.mem_attr_array: dict[int, bool] = {}  # gfns with KVM_MEMORY_ATTRIBUTE_PRIVATE
        self.vcpus: list[KvmVcpu] = []

    # --- geometry ---------------------------------------------------------------------------------------------

    def pages_per_hpage(self, level: i64) -> i64:
        """KVM_PAGES_PER_HPAGE(level)"""
        return bit_ull((level - 1) * self.bits)

    def gfn_round_for_level(self, gfn: i64, level: i64) -> i64:
        return gfn & ~(bit_ull((level - 1) * self.bits) - 1)

    def spte_index(self, gfn: i64, level: i64) -> i64:
        """SPTE_INDEX()"""
        return (gfn >> ((level - 1) * self.bits)) & (self.entries - 1)

    def tlb_key(self, gfn: i64, level: i64) -> i64:
        """Names the page of size `level` around gfn."""
        return (gfn >> ((level - 1) * self.bits)) << 3 | level

    def table_key(self, gfn: i64, level: i64) -> i64:
        """Names the page table of `level` that translates gfn."""
        return (gfn >> (level * self.bits)) << 3 | level

    # --- memslots and the dirty log -----------------------------------------------------------------------------

    def gfn_of_hva(self, hva: i64) -> i64:
        """The gfn that a host page backs, -1: none."""
        for slot in self.memslots:
            if slot.hva <= hva < slot.hva + slot.npages:
                return slot.base_gfn + hva - slot.hva
        return -1

    def is_dirty(self, slot: KvmMemorySlot, gfn: i64) -> bool:
        """Is the gfn's bit set in the slot's bitmap?"""
        offset = gfn - slot.base_gfn
        return (slot.dirty_bitmap[offset // self.word_gfns] >> (offset % self.word_gfns)) & 1 != 0

    # --- what an entry says -----------------------------------------------------------------------------------

    def pte_kind(self, pte: i64, level: i64) -> i64:
        """PTE_*: what an entry of a table of this level is."""
        raise NotImplementedError

    def pte_pfn(self, pte: i64) -> i64:
        """The page, or the number of the table, that a present entry leads to."""
        raise NotImplementedError

    def pte_writable(self, pte: i64) -> bool:
        """Does hardware let the guest write through a leaf?"""
        raise NotImplementedError

    def pte_may_write(self, pte: i64) -> bool:
        """May a leaf be made writable without the primary MMU being asked?"""
        return self.pte_writable(pte)

    def dirty_marks(self) -> i64:
        """MARKS_*, the same as long as the machine lives."""
        return MARKS_AT_MAP

    def leaf_dirty(self, pte: i64) -> bool:
        """May the guest have written through a leaf, as far as the leaf tells?"""
        return self.pte_writable(pte)

    def leaf_young(self, pte: i64) -> bool:
        """Does a leaf tell that the guest has used it?"""
        return False

    def leaf_silent(self, root: PageTable, pte: i64) -> bool:
        """Would an entry of the TLB that is made from a leaf let the CPU write without anybody noticing?"""
        return self.pte_writable(pte)

    def silent_rights(self, vcpu: KvmVcpu) -> i64:
        """TLB_* that let the CPU write without KVM, or a log of hardware's, noticing."""
        raise NotImplementedError

    def leaf_difference(self, pte: i64, other: Observable, other_pte: i64) -> i64:
        """LEAF_*: in what a leaf differs from another machine's, which maps the same page at the same level."""
        raise NotImplementedError

    def leaf_words(self, pte: i64) -> str:
        """A leaf for people, e.g. "pfn 4 W MMU-W A D"."""
        raise NotImplementedError

    def state_words(self) -> list[tuple[str, str]]:
        """What else the architecture has, for people: ("PML of vCPU0", "gfn 3")."""
        return []

    def pending_words(self) -> list[tuple[str, str]]:
        """What is on its way, for people: ("request to vCPU0", "free obsolete roots")."""
        return []

    # --- tables, roots, vCPUs -----------------------------------------------------------------------------------

    def tables(self) -> list[PageTable]:
        """Every page table there ever was, by number."""
        raise NotImplementedError

    def table(self, number: i64) -> PageTable:
        """The page table of that number."""
        raise NotImplementedError

    def roots(self) -> list[PageTable]:
        """Every root that exists, invalid ones included."""
        raise NotImplementedError

    def top(self, sp: PageTable) -> PageTable:
        """The root a table belongs, or belonged, to."""
        raise NotImplementedError

    def root_of(self, vcpu: KvmVcpu) -> PageTable | None:
        """The root that a vCPU has loaded."""
        raise NotImplementedError

    def same_users(self, root: PageTable, other: PageTable) -> bool:
        """May the tables below one root be below the other, too?"""
        return root is other

    def invalid(self, sp: PageTable) -> bool:
        """May nobody load this root any more?"""
        return False

    def leaked(self, sp: PageTable) -> bool:
        """Was a table left over that nobody will free?"""
        return False

    def obsolete(self, root: PageTable) -> bool:
        """Can nobody load this root any more, of whatever generation?"""
        return self.invalid(root)

    def any_obsolete_root(self) -> bool:
        """Has any vCPU loaded a root that is obsolete?"""
        return any(self.on_obsolete_root(vcpu) for vcpu in self.vcpus)

    def on_obsolete_root(self, vcpu: KvmVcpu) -> bool:
        """Has the vCPU loaded a root that is obsolete?"""
        root = self.root_of(vcpu)
        return root is not None and self.obsolete(root)

    def asked_to_leave(self, vcpu: KvmVcpu) -> bool:
        """Will the vCPU drop its root before it enters the guest again?"""
        return False

    def usable(self, vcpu: KvmVcpu) -> bool:
        """Can the vCPU use what it has cached? Not with an obsolete root and the request to drop it pending: it
        reloads, and flushes, before it enters."""
        root = self.root_of(vcpu)
        return root is not None and (not self.obsolete(root) or not self.asked_to_leave(vcpu))

    def locks_allow_store(self, sp: PageTable, here: i64) -> bool:
        """Does the running actor hold what a store to the table needs? `here`: the point where it last stood."""
        return self.mmu_lock.held[self.actor] != 0

    def may_change_bits(self, sp: PageTable) -> bool:
        """May the running actor, without those locks, set or clear bits of a leaf of the table?"""
        return False

    def flushes_later(self) -> bool:
        """Is the running flow one that owes no flush for what it takes away at the moment?"""
        return False

    def unlinked_is_owed(self, sp: PageTable) -> bool:
        """Must whoever unlinks the table see to it that nobody uses it when the RCU section ends?"""
        return False

    def walked_when_freed(self, sp: PageTable) -> bool:
        """Is a table that is freed one that somebody's walk may still be in?"""
        return True

    def hardware_bits(self) -> i64:
        """Bits of an entry that the page walker may set at any time."""
        return 0

    def logged_in_flight(self) -> list[int]:
        """gfns that were written and are not in a bitmap yet, but will be."""
        return []

    def logged_by(self, vcpu: KvmVcpu) -> list[int]:
        """gfns that hardware has logged for a vCPU and KVM has not seen."""
        return []

    def logged_in_table(self) -> list[int]:
        """gfns that hardware has logged in a page table, from where kvm_arch_sync_dirty_log() moves them."""
        return []

    def stop(self) -> None:
        """The guest is stopped at the end of a program: what hardware has logged is drained."""

    # --- walks ----------------------------------------------------------------------------------------------------

    def leaf_of(self, root: PageTable, page: i64) -> tuple[i64, i64]:
        """(entry, level) of the leaf that maps a page, (0, 0) if none."""
        sp = root
        while True:
            pte = sp.spt[self.spte_index(page, sp.level)]
            kind = self.pte_kind(pte, sp.level)
            if kind == PTE_LEAF:
                return pte, sp.level
            if kind != PTE_TABLE:
                return 0, 0
            sp = self.table(self.pte_pfn(pte))

    def pfn_in_leaf(self, pte: i64, level: i64, page: i64) -> i64:
        """The pfn that a leaf gives to a page."""
        return self.pte_pfn(pte) + (page & (self.pages_per_hpage(level) - 1))

    def linked_tables(self) -> list[PageTable]:
        """Every page table that a root reaches."""
        tables = list(self.roots())
        for sp in tables:  # grows while it is walked
            for pte in sp.spt:
                if self.pte_kind(pte, sp.level) == PTE_TABLE:
                    tables.append(self.table(self.pte_pfn(pte)))
        return tables

    def entry_range(self, key: i64) -> tuple[i64, i64]:
        """[first page, end) of a TLB entry."""
        level = key & 7
        first = (key >> 3) << ((level - 1) * self.bits)
        return first, first + self.pages_per_hpage(level)

    def can_use(self, vcpu: KvmVcpu, first: i64, end: i64, rights: i64 = 0) -> bool:
        """Has the vCPU an entry that it can use, and that gives all these rights to a gfn of [first, end)?"""
        if vcpu.tlb.n == 0 or not self.usable(vcpu):
            return False
        for at in range(vcpu.tlb.n):
            entry = vcpu.tlb.values[at]
            if entry & rights == rights:
                start, stop = self.entry_gfns(vcpu.tlb.keys[at], entry)
                if start < end and first < stop:
                    return True
        return False

    def hva_of_gfn(self, gfn: i64) -> i64:
        """The host page of a gfn, -1 where no memslot is valid."""
        slot = search_memslots(self.memslots, gfn)
        if slot is None or slot.invalid:
            return -1
        return self.hva_in_slot(slot, gfn)

    def hva_in_slot(self, slot: KvmMemorySlot, gfn: i64) -> i64:
        """What backs a gfn of a memslot: a page of the process, or, if the gfn is private, of the guest_memfd."""
        if self.gmem is not None and slot.gmem_pgoff >= 0 and gfn in self.mem_attr_array:
            return self.gmem.first + gfn - slot.base_gfn + slot.gmem_pgoff
        return slot.hva + gfn - slot.base_gfn

    # --- pages: what a table translates, gfns unless the architecture says otherwise --------------------------------

    def pages_are_gfns(self) -> bool:
        """Do the page tables translate guest frames?"""
        return True

    def pages(self) -> list[int]:
        """What the guest can name."""
        return [gfn for slot in self.memslots for gfn in range(slot.base_gfn, slot.end_gfn())]

    def entry_gfns(self, key: i64, entry: i64) -> tuple[i64, i64]:
        """[first gfn, end) that a TLB entry gives access to."""
        return self.entry_range(key)

    def leaf_gfns(self, sp: PageTable, index: i64, pte: i64) -> tuple[i64, i64]:
        """[first gfn, end) that an entry maps, or would map."""
        pages = self.pages_per_hpage(sp.level)
        return sp.gfn + index * pages, sp.gfn + (index + 1) * pages

    def reach(self, sp: PageTable, index: i64) -> tuple[i64, i64]:
        """[first page, end) whose TLB entries may come from an entry."""
        return self.leaf_gfns(sp, index, 0)

    def accessed_bits_go(self, sp: PageTable, leaf: bool) -> bool:
        """Does zapping an entry forget the Accessed bits of all it maps?"""
        return True

    def pages_mapping(self, root: PageTable, gfns: list[int]) -> list[int]:
        """Through which pages a root may map these gfns."""
        return gfns

    def maps_gfn(self, root: PageTable, first: i64, end: i64) -> bool:
        """Does a root map a gfn of [first, end)?"""
        return any(self.leaf_of(root, gfn)[1] != 0 for gfn in range(first, end))
