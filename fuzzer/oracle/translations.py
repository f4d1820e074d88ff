# SPDX-License-Identifier: GPL-2.0-only
"""Stale translations: what a TLB may still hold when mmu_lock or RCU is released (rules E1, E2, E3, E5, E6).

An entry is stale if the current SPTE would not produce it.  That is legal until the flow that changed the SPTE
releases mmu_lock; after that, another holder of the lock relies on the page tables alone.  What stays legal for ever:
a writable entry whose SPTE lost W but kept MMU_WRITABLE (dirty log, aging), any stale A or D, and a 4K entry under a
huge SPTE, or the reverse, with the same translation.  Of an indirect MMU entries are judged by virtual page; how old an
SPTE may be compared with the guest's own entry is another question, see guest_tables.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mypy_extensions import i64

from fuzzer.oracle.walk import entry_range, leaf_of, pfn_in_leaf, reach, usable
from reference_mmu.machine import Machine
from reference_mmu.page_table import KvmMmuPage
from reference_mmu.spte import is_frozen_spte, is_last_spte, is_mmu_writable_spte, is_shadow_present_pte, spte_to_pfn
from reference_mmu.tlb import TLB_PFN_SHIFT, TLB_W, Vcpu

if TYPE_CHECKING:
    from fuzzer.oracle.judge import Judge


class Translations:
    """Remembers, per actor, what it took away while holding mmu_lock, and judges the TLBs when it lets go."""

    def __init__(self, judge: Judge, actors: int) -> None:
        self.judge = judge
        self.taken: list[list[tuple[KvmMmuPage, int, int]]] = [[] for _ in range(actors)]
        # The part of `taken` that a flush has followed: entries made since then may be somebody else's to flush.
        self.settled: list[list[tuple[KvmMmuPage, int, int]]] = [[] for _ in range(actors)]
        self.unlinked: list[list[KvmMmuPage]] = [[] for _ in range(actors)]
        # Who was in an RCU section when a table was unlinked, by table: a lockless walker may be in it.
        self.walkers: dict[int, list[int]] = {}
        # (actor, root, first, end) of ranges whose table an actor zapped since the last flush.
        self.unflushed: list[tuple[int, KvmMmuPage, int, int]] = []

    def spte_changed(self, m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        if self.unflushed and sp.level > 1 and is_shadow_present_pte(new_spte) and is_last_spte(new_spte, sp.level):
            self.note_huge_before_flush(m, sp, index)
        if not is_shadow_present_pte(old_spte) or sp.unlinked:
            return
        if not takes_away(m, sp.level, old_spte, new_spte) or m.harvest_protects_huge:
            return
        first, end = reach(m, sp, index)
        self.taken[m.actor].append((sp.top(), int(first), int(end)))
        if not is_last_spte(old_spte, sp.level) and not is_shadow_present_pte(new_spte):
            self.unflushed.append((int(m.actor), sp.top(), int(first), int(end)))

    def note_huge_before_flush(self, m: Machine, sp: KvmMmuPage, index: i64) -> None:
        """A huge leaf where a table that somebody else zapped may still be cached: the same translations, so legal."""
        first = sp.gfn + index * m.pages_per_hpage(sp.level)
        for actor, root, start, end in self.unflushed:
            if actor != m.actor and root is sp.top() and start < first + m.pages_per_hpage(sp.level) and first < end:
                self.judge.note("huge-before-flush")

    def flushed(self) -> None:
        """Every entry is gone: from now on what was taken counts only against entries that are nobody else's duty."""
        if self.unflushed:
            self.unflushed = []
        for actor, taken in enumerate(self.taken):
            if taken:
                self.settled[actor].extend(taken)
                self.taken[actor] = []

    def table_unlinked(self, m: Machine, sp: KvmMmuPage) -> None:
        """The TDP MMU frees what it unlinks; the shadow MMU keeps it for reuse, table_freed() judges those."""
        self.walkers[int(sp.pt)] = m.rcu.snapshot()
        if sp.tdp_mmu_page and not sp.top().invalid:
            self.unlinked[m.actor].append(sp)

    def mmu_unlocking(self, m: Machine, actor: i64) -> None:
        """E1, E3, E5, E6: everything the holder took away must be out of every usable TLB by now. An entry made after
        a flush from an SPTE that another holder has changed since is that one's to flush, and judged when it unlocks.
        """
        taken, settled = self.taken[actor], self.settled[actor]
        self.taken[actor], self.settled[actor] = [], []
        if not taken and not settled:
            return
        for vcpu in m.vcpus:
            if vcpu.tlb and usable(m, vcpu):
                for root, first, end in taken:
                    if vcpu.root is root or not root.tdp_mmu_page:
                        self.judge_range(m, vcpu, range(first, end))
                for root, first, end in settled:
                    if vcpu.root is root or not root.tdp_mmu_page:
                        self.judge_range(m, vcpu, [gfn for gfn in range(first, end) if not self.owed(root, gfn)])

    def owed(self, root: KvmMmuPage, gfn: int) -> bool:
        """Does anybody still owe a flush for gfn?"""
        return any(other is root and first <= gfn < end for taken in self.taken for other, first, end in taken)

    def judge_range(self, m: Machine, vcpu: Vcpu, gfns: Iterable[int]) -> None:
        root = vcpu.root
        assert root is not None
        for gfn in gfns:
            for key, entry in vcpu.tlb.items():
                start, stop = entry_range(m, key)
                if start <= gfn < stop:
                    invariant = staleness(m, root, gfn, entry + ((gfn - start) << TLB_PFN_SHIFT))
                    if invariant:
                        self.judge.report(invariant)

    def rcu_unlocking(self, m: Machine, actor: i64) -> None:
        """E2: once the read section ends the unlinked tables may be freed and reused."""
        unlinked = self.unlinked[actor]
        if not unlinked:
            return
        self.unlinked[actor] = []
        for sp in unlinked:
            self.judge_references(m, sp)

    def table_freed(self, m: Machine, sp: KvmMmuPage) -> None:
        """E2 again, for what KVM itself walks without mmu_lock. A root is never unlinked: its users hold references."""
        walkers = self.walkers.pop(int(sp.pt), None)
        if walkers is not None and not m.rcu.passed(walkers):
            self.judge.report("early-free")
        if not sp.tdp_mmu_page or not sp.top().invalid:
            self.judge_references(m, sp)

    def judge_references(self, m: Machine, sp: KvmMmuPage) -> None:
        for vcpu in m.vcpus:
            if vcpu.structure_cache and usable(m, vcpu):
                for cached in vcpu.structure_cache.values():
                    if cached is sp:
                        self.judge.report("freed-table-reference")


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
