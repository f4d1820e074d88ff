# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_arch where it is little more than a root: the state of a machine with a stage-2 table, and the facts in
which architectures differ.

What common code asks of the architecture is in stage2.py, a class on top of this one: it needs the flows, and they need
this. A fact is a method here that an architecture overrides.
"""

from __future__ import annotations

from collections.abc import Generator

from librt.vecs import vec
from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.page_table import PageTable
from ..kvm.vcpu import KvmVcpu
from ..kvm.vm import Vm
from ..oracle import Oracle
from ..points import PointTable
from .fault import ACCESS_FLAG_FAULT, NO_FAULT, PERMISSION_FAULT, TRANSLATION_FAULT, Fault
from .pte import S2_PFN_SHIFT, S2_WRITE, S2_YOUNG, is_leaf, is_table, make_table, pfn_of


class Stage2Machine(Vm):
    """`root`: the table that all vCPUs use. `memory_cache`: by vCPU, pages in hand for new tables (memory_cache.py).
    `unlogged`: gfns that a fault handler has let the guest write, and whose bit in the dirty bitmap comes later."""

    def __init__(
        self, config: Config, points: PointTable, sem: Semantics, actors: i64, operations: i64, oracle: Oracle
    ) -> None:
        super().__init__(config, points, sem, actors, operations, oracle)
        self.hardware_young = config.sets_young
        self.page_tables: list[PageTable] = []
        self.root = self.alloc_table(self.levels, 0)
        self.memory_cache: vec[i64] = vec[i64]([0] * config.vcpus)
        self.unlogged: list[int] = []
        self.vcpus.extend([self.make_vcpu(number) for number in range(config.vcpus)])
        self.kvm_arch_init_vm(config)
        self.create_memslots(config)
        oracle.attach(self)

    # --- what an architecture adds ------------------------------------------------------------------------------

    def kvm_arch_init_vm(self, config: Config) -> None:
        """Make what the architecture has beside the table. The vCPUs are there, the memslots are not."""

    def make_vcpu(self, number: i64) -> KvmVcpu:
        """A vCPU: one of a class on top of KvmVcpu where the architecture keeps something for it."""
        return KvmVcpu(number)

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        """The exit handler of a guest's access; returns PF_* of observed.py. SRCU is held."""
        raise NotImplementedError

    def write_protect(self, start: i64, end: i64) -> Generator[int, None, bool]:
        """Make every write to [start, end) fault; returns whether any leaf changed. mmu_lock held for write."""
        raise NotImplementedError

    # --- what hardware does -------------------------------------------------------------------------------------

    def may_execute(self, pfn: i64) -> bool:
        """Do entries that map the page allow a fetch?"""
        return True

    def hardware_fault(self, pte: i64, write: bool) -> i64:
        """NO_FAULT, or why the walker does not let an access through at this entry, which leads to no table."""
        if not is_leaf(pte):
            return TRANSLATION_FAULT
        if not pte & S2_YOUNG and not self.hardware_young:
            return ACCESS_FLAG_FAULT
        return PERMISSION_FAULT if write and not pte & S2_WRITE else NO_FAULT

    def hardware_sets(self, pte: i64, write: bool) -> i64:
        """The leaf after the walker has let an access through: with the bits that hardware sets by itself."""
        return pte | S2_YOUNG if self.hardware_young else pte

    def faults_from_tlb(self) -> bool:
        """Is a store that hits a read-only entry of the TLB a fault at once? Else the CPU drops its entry and walks
        again, so that it sees what the table says by now."""
        return False

    def table_walk_is_cached(self) -> bool:
        """Does the CPU keep pointers to the tables that it came by?"""
        return True

    # --- how TLBs are flushed -----------------------------------------------------------------------------------

    def drop(self, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        """Drop what a vCPU has cached of gfns [first, end): pages, blocks, and tables that translate any of them."""
        for key, _ in vcpu.tlb.items():
            start, stop = self.entry_range(key)
            if start < end and first < stop:
                vcpu.tlb.drop(key)
        for key, _ in vcpu.structure_cache.items():
            start, stop = self.entry_range(key + 1)  # what the entry translates that leads to the table
            if start < end and first < stop:
                vcpu.structure_cache.drop(key)

    def drop_everywhere(self, first: i64, end: i64) -> None:
        """flush_range() where hardware takes away what is named and no more. All walks are void."""
        for vcpu in self.vcpus:
            vcpu.exits += 1
            self.drop(vcpu, first, end)
        self.oracle.range_flushed(self, first, end)

    def flush_range(self, first: i64, end: i64) -> None:
        """END of a flush of gfns [first, end) on all CPUs. The form by range falls back to one of everything where
        hardware, or KVM, has none."""
        self.flush_all()

    # --- tables -------------------------------------------------------------------------------------------------

    def alloc_table(self, level: i64, gfn: i64) -> PageTable:
        """A zeroed table that translates gfns from `gfn` on, linked nowhere yet."""
        sp = PageTable(len(self.page_tables), level, self.gfn_round_for_level(gfn, level + 1), self.entries, 0)
        self.page_tables.append(sp)
        return sp

    def child(self, pte: i64) -> PageTable:
        """The table that an entry leads to."""
        return self.page_tables[pfn_of(pte)]

    def store(self, sp: PageTable, index: i64, new: i64) -> None:
        """set_pte(), WRITE_ONCE(): store an entry of a linked table, with mmu_lock as the architecture wants it."""
        old = sp.spt[index]
        sp.spt[index] = new
        self.count_change()
        self.oracle.spte_changed(self, sp, index, old, new)

    def try_store(self, sp: PageTable, index: i64, old: i64, new: i64) -> bool:
        """cmpxchg(): False if the entry is no longer `old`."""
        if sp.spt[index] != old:
            return False
        self.store(sp, index, new)
        return True

    def link_table(self, sp: PageTable, index: i64, child: PageTable) -> None:
        """Make an entry lead to a new table."""
        self.store(sp, index, make_table(child.pt))

    def unlink(self, sp: PageTable) -> None:
        """No entry leads to the table any more, nor to those below it."""
        sp.unlinked = True
        self.oracle.table_unlinked(self, sp)
        for pte in sp.spt:
            if is_table(pte):
                self.unlink(self.child(pte))

    def free_table(self, sp: PageTable) -> None:
        """The memory of a table and of those below it is given back; nobody reaches what it still maps."""
        for index in range(self.entries):
            pte = sp.spt[index]
            sp.spt[index] = 0
            if is_table(pte):
                self.free_table(self.child(pte))
        super().free_table(sp)

    def unmap_leaf(self, sp: PageTable, index: i64) -> Generator[int, None, bool]:
        """Take one leaf away. True if the caller owes the flush; an architecture that flushes at once returns False."""
        self.store(sp, index, 0)
        yield from ()
        return True

    def is_empty(self, sp: PageTable) -> bool:
        """page_count() == 1: no entry holds a reference to the page of the table."""
        return all(pte == 0 for pte in sp.spt)

    def part_of_block(self, block: i64, number: i64, level: i64) -> i64:
        """The leaf of `level` that maps part `number` of a block of the next higher level."""
        return block + (number * self.pages_per_hpage(level) << S2_PFN_SHIFT)

    def write_protected(self, pte: i64) -> i64:
        """A leaf that the dirty log is to see written."""
        return pte & ~S2_WRITE

    def old_leaf(self, pte: i64) -> i64:
        """pte_mkold(): a leaf of which the next access will be seen."""
        return pte & ~S2_YOUNG
