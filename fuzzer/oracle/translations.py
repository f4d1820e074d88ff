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

from fuzzer.oracle.reports import Reports
from fuzzer.oracle.walk import entry_range, leaf_of, pfn_in_leaf, reach, usable
from reference_mmu.kvm.locks import GracePeriod
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import (
    is_frozen_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    spte_to_pfn,
)
from reference_mmu.x86.tlb import TLB_PFN_SHIFT, TLB_W, Vcpu


@mypyc_attr(acyclic=True)
class Taken:
    """What an actor took away while holding mmu_lock: the translations of [first, end) under `root`. `settled`: a flush
    has followed, and entries made since then may be somebody else's to flush."""

    def __init__(self, actor: i64, root: KvmMmuPage, first: i64, end: i64) -> None:
        self.actor = actor
        self.root = root
        self.first = first
        self.end = end
        self.settled = False


@mypyc_attr(acyclic=True)
class Unlinked:
    """A table that `actor` has unlinked. `grace_period`: a lockless walker may be in it until that has passed.  `owed`:
    the actor must see to it that nobody uses it any more when its read section ends."""

    def __init__(self, sp: KvmMmuPage, actor: i64, grace_period: GracePeriod, owed: bool) -> None:
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

    def spte_changed(self, m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        if self.unflushed and sp.level > 1 and is_shadow_present_pte(new_spte) and is_last_spte(new_spte, sp.level):
            self.note_huge_before_flush(m, sp, index)
        if not is_shadow_present_pte(old_spte) or sp.unlinked:
            return
        if not takes_away(m, sp.level, old_spte, new_spte) or m.harvest_protects_huge:
            return
        first, end = reach(m, sp, index)
        taken = Taken(m.actor, sp.top(), first, end)
        self.taken.append(taken)
        if not is_last_spte(old_spte, sp.level) and not is_shadow_present_pte(new_spte):
            self.unflushed.append(taken)

    def note_huge_before_flush(self, m: Machine, sp: KvmMmuPage, index: i64) -> None:
        """A huge leaf where a table that somebody else zapped may still be cached: the same translations, so legal."""
        pages = m.pages_per_hpage(sp.level)
        first = sp.gfn + index * pages
        for taken in self.unflushed:
            if taken.actor != m.actor and taken.root is sp.top() and taken.first < first + pages and first < taken.end:
                self.reports.note("huge-before-flush")

    def flushed(self) -> None:
        """Every entry is gone: from now on what was taken counts only against entries that are nobody else's duty."""
        if self.unflushed:
            self.unflushed = []
        for taken in self.taken:
            taken.settled = True

    def table_unlinked(self, m: Machine, sp: KvmMmuPage) -> None:
        """The TDP MMU frees what it unlinks; the shadow MMU keeps it for reuse, table_freed() judges those. There a
        page may be linked and unlinked again: only the last time counts."""
        known = self.find(sp)
        if known is not None:
            self.unlinked.remove(known)
        owed = sp.tdp_mmu_page and not sp.top().invalid
        self.unlinked.append(Unlinked(sp, m.actor, m.rcu.start_grace_period(), owed))

    def find(self, sp: KvmMmuPage) -> Unlinked | None:
        """What is remembered of an unlinked table, if anything is."""
        for unlinked in self.unlinked:
            if unlinked.sp is sp:
                return unlinked
        return None

    def mmu_unlocking(self, m: Machine) -> None:
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
            if vcpu.tlb.n != 0 and usable(m, vcpu):
                for taken in mine:
                    if vcpu.root is taken.root or not taken.root.tdp_mmu_page:
                        for gfn in range(taken.first, taken.end):
                            if not taken.settled or not self.owed(taken.root, gfn):
                                self.judge_gfn(m, vcpu, gfn)

    def owed(self, root: KvmMmuPage, gfn: i64) -> bool:
        """Does anybody still owe a flush for gfn?"""
        return any(not taken.settled and taken.root is root and taken.first <= gfn < taken.end for taken in self.taken)

    def judge_gfn(self, m: Machine, vcpu: Vcpu, gfn: i64) -> None:
        root = vcpu.root
        assert root is not None
        for at in range(vcpu.tlb.n):
            start, stop = entry_range(m, vcpu.tlb.keys[at])
            if start <= gfn < stop:
                invariant = staleness(m, root, gfn, vcpu.tlb.values[at] + ((gfn - start) << TLB_PFN_SHIFT))
                if invariant:
                    self.reports.report(invariant)

    def rcu_unlocking(self, m: Machine) -> None:
        """Once the read section ends the unlinked tables may be freed and reused: no structure cache may point to
        them."""
        for unlinked in self.unlinked:
            if unlinked.owed and unlinked.actor == m.actor:
                unlinked.owed = False
                self.judge_references(m, unlinked.sp)

    def table_freed(self, m: Machine, sp: KvmMmuPage) -> None:
        """A table is freed: that judges also what KVM itself walks without mmu_lock. A root is never unlinked: its
        users hold references."""
        unlinked = self.find(sp)
        if unlinked is not None:
            if not m.rcu.passed(unlinked.grace_period):
                self.reports.report("early-free")
            if not unlinked.owed:
                self.unlinked.remove(unlinked)
        if not sp.tdp_mmu_page or not sp.top().invalid:
            self.judge_references(m, sp)

    def judge_references(self, m: Machine, sp: KvmMmuPage) -> None:
        for vcpu in m.vcpus:
            if vcpu.structure_cache.n != 0 and usable(m, vcpu):
                for at in range(vcpu.structure_cache.n):
                    if vcpu.structure_cache.values[at] == sp.pt:
                        self.reports.report("freed-table-reference")


def takes_away(m: Machine, level: i64, old_spte: i64, new_spte: i64) -> bool:
    """Could an entry made from old_spte be wrong under new_spte, for more than W, A or D?"""
    if is_frozen_spte(new_spte) or not is_shadow_present_pte(new_spte):
        return True
    if not is_last_spte(old_spte, level):
        return is_last_spte(new_spte, level)
    if not is_last_spte(new_spte, level):
        return False  # a split: same translations
    if spte_to_pfn(old_spte) != spte_to_pfn(new_spte):
        return True
    return is_mmu_writable_spte(m.masks, old_spte) and not is_mmu_writable_spte(m.masks, new_spte)


def staleness(m: Machine, root: KvmMmuPage, gfn: i64, entry: i64) -> str:
    """The invariant a TLB entry for gfn breaks, "" if it is in order."""
    spte, level = leaf_of(m, root, gfn)
    if level == 0 or pfn_in_leaf(m, spte, level, gfn) != entry >> TLB_PFN_SHIFT:
        return "stale-translation"
    if (entry & TLB_W) != 0 and not is_mmu_writable_spte(m.masks, spte):
        return "stale-writable-mmuw"
    return ""
