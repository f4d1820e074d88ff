# SPDX-License-Identifier: GPL-2.0-only
"""Stale translations: what a TLB may still hold when mmu_lock or RCU is released.

An entry is stale if the current SPTE would not produce it.  That is legal until the flow that changed the SPTE
releases mmu_lock; after that, another holder of the lock relies on the page tables alone.  What stays legal for ever:
a writable entry whose SPTE lost W but kept MMU_WRITABLE (dirty log, aging), any stale A or D, and a 4K entry under a
huge SPTE, or the reverse, with the same translation.  Of an indirect MMU entries are judged by virtual page; how old an
SPTE may be compared with the guest's own entry is another question, see guest_tables.py.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.invariants import Invariant
from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.locks import GracePeriod
from reference_mmu.kvm.observer import PTE_LEAF, PTE_TABLE, Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vcpu import TLB_PFN_SHIFT, TLB_W, KvmVcpu


@mypyc_attr(acyclic=True)
class Taken:
    """What an actor took away while holding mmu_lock: the translations of [first, end) under `root`. `settled`: a flush
    has followed, and entries made since then may be somebody else's to flush."""

    def __init__(self, actor: i64, root: PageTable, first: i64, end: i64) -> None:
        self.actor = actor
        self.root = root
        self.first = first
        self.end = end
        self.settled = False


@mypyc_attr(acyclic=True)
class Unlinked:
    """A table that `actor` has unlinked. `grace_period`: a lockless walker may be in it until that has passed.  `owed`:
    the actor must see to it that nobody uses it any more when its read section ends."""

    def __init__(self, sp: PageTable, actor: i64, grace_period: GracePeriod, owed: bool) -> None:
        self.sp = sp
        self.actor = actor
        self.grace_period = grace_period
        self.owed = owed


@mypyc_attr(acyclic=True, free_list_len=1)
class Translations:
    """Remembers what was taken away under mmu_lock, and judges the TLBs when whoever did it lets go."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.taken: list[Taken] = []
        self.unlinked: list[Unlinked] = []
        # Ranges whose table an actor zapped since the last flush.
        self.unflushed: list[Taken] = []

    def spte_changed(
        self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        if self.unflushed and sp.level > 1 and now == PTE_LEAF:
            self.note_huge_before_flush(m, sp, index)
        if was < PTE_TABLE or sp.unlinked:
            return
        if not takes_away(m, old_spte, new_spte, was, now) or m.flushes_later():
            return
        first, end = m.reach(sp, index)
        taken = Taken(m.actor, m.top(sp), first, end)
        self.taken.append(taken)
        if was == PTE_TABLE and now < PTE_TABLE:
            self.unflushed.append(taken)

    def note_huge_before_flush(self, m: Observable, sp: PageTable, index: i64) -> None:
        """A huge leaf where a table that somebody else zapped may still be cached: the same translations, so legal."""
        pages = m.pages_per_hpage(sp.level)
        first = sp.gfn + index * pages
        for taken in self.unflushed:
            if taken.actor != m.actor and taken.root is m.top(sp) and taken.first < first + pages and first < taken.end:
                self.reports.note("huge-before-flush")

    def flushed(self) -> None:
        """Every entry is gone: from now on what was taken counts only against entries that are nobody else's duty."""
        if self.unflushed:
            self.unflushed = []
        for taken in self.taken:
            taken.settled = True

    def range_flushed(self, first: i64, end: i64) -> None:
        """The same for what lies in [first, end)."""
        self.unflushed = [taken for taken in self.unflushed if not first <= taken.first <= taken.end <= end]
        for taken in self.taken:
            if first <= taken.first and taken.end <= end:
                taken.settled = True

    def table_unlinked(self, m: Observable, sp: PageTable) -> None:
        """The TDP MMU frees what it unlinks; the shadow MMU keeps it for reuse, table_freed() judges those. There a
        page may be linked and unlinked again: only the last time counts."""
        known = self.find(sp)
        if known is not None:
            self.unlinked.remove(known)
        owed = m.unlinked_is_owed(sp)
        self.unlinked.append(Unlinked(sp, m.actor, m.rcu.start_grace_period(), owed))

    def find(self, sp: PageTable) -> Unlinked | None:
        """What is remembered of an unlinked table, if anything is."""
        for unlinked in self.unlinked:
            if unlinked.sp is sp:
                return unlinked
        return None

    def mmu_unlocking(self, m: Observable) -> None:
        """When mmu_lock is released, everything the holder took away must be out of every usable TLB. An entry made
        after a flush from an SPTE that another holder has changed since is that one's to flush, and judged when it
        unlocks."""
        if not self.taken:
            return
        mine = [taken for taken in self.taken if taken.actor == m.actor]
        if not mine:
            return
        self.taken = [taken for taken in self.taken if taken.actor != m.actor]
        for vcpu in m.vcpus:
            root = m.root_of(vcpu)
            if vcpu.tlb.n != 0 and root is not None and m.usable(vcpu):
                for taken in mine:
                    if m.same_users(root, taken.root):
                        for gfn in range(taken.first, taken.end):
                            if not taken.settled or not self.owed(taken.root, gfn):
                                self.judge_gfn(m, vcpu, gfn)

    def owed(self, root: PageTable, gfn: i64) -> bool:
        """Does anybody still owe a flush for gfn?"""
        return any(not taken.settled and taken.root is root and taken.first <= gfn < taken.end for taken in self.taken)

    def judge_gfn(self, m: Observable, vcpu: KvmVcpu, gfn: i64) -> None:
        root = m.root_of(vcpu)
        assert root is not None
        for at in range(vcpu.tlb.n):
            start, stop = m.entry_range(vcpu.tlb.keys[at])
            if start <= gfn < stop:
                invariant = staleness(m, root, gfn, vcpu.tlb.values[at] + ((gfn - start) << TLB_PFN_SHIFT))
                if invariant is not None:
                    self.reports.report(invariant)

    def rcu_unlocking(self, m: Observable) -> None:
        """Once the read section ends the unlinked tables may be freed and reused: no structure cache may point to
        them."""
        for unlinked in self.unlinked:
            if unlinked.owed and unlinked.actor == m.actor:
                unlinked.owed = False
                self.judge_references(m, unlinked.sp)

    def table_freed(self, m: Observable, sp: PageTable) -> None:
        """A table is freed: that judges also what KVM itself walks without mmu_lock. A root is never unlinked: its
        users hold references."""
        unlinked = self.find(sp)
        if unlinked is not None:
            if not m.rcu.passed(unlinked.grace_period):
                self.reports.report("early-free")
            if not unlinked.owed:
                self.unlinked.remove(unlinked)
        if m.walked_when_freed(sp):
            self.judge_references(m, sp)

    def judge_references(self, m: Observable, sp: PageTable) -> None:
        for vcpu in m.vcpus:
            if vcpu.structure_cache.n != 0 and m.usable(vcpu):
                for at in range(vcpu.structure_cache.n):
                    if vcpu.structure_cache.values[at] == sp.pt:
                        self.reports.report("freed-table-reference")


def takes_away(m: Observable, old_spte: i64, new_spte: i64, was: i64, now: i64) -> bool:
    """Could an entry made from old_spte, which was a table or a leaf, be wrong under new_spte, for more than W, A or
    D?"""
    if now < PTE_TABLE:
        return True
    if was == PTE_TABLE:
        return now == PTE_LEAF
    if now == PTE_TABLE:
        return False  # a split: same translations
    if m.pte_pfn(old_spte) != m.pte_pfn(new_spte):
        return True
    return m.pte_may_write(old_spte) and not m.pte_may_write(new_spte)


def staleness(m: Observable, root: PageTable, gfn: i64, entry: i64) -> Invariant | None:
    """The invariant a TLB entry for gfn breaks, None if it is in order."""
    spte, level = m.leaf_of(root, gfn)
    if level == 0 or m.pfn_in_leaf(spte, level, gfn) != entry >> TLB_PFN_SHIFT:
        return "stale-translation"
    if (entry & TLB_W) != 0 and not m.pte_may_write(spte):
        return "stale-writable-mmuw"
    return None
