# SPDX-License-Identifier: GPL-2.0-only
"""rmaps and parent_ptes of the shadow MMU: whoever takes mmu_lock finds every SPTE through them, and no other.

Only entries that have changed are looked at, when the lock that kept others out is released. That a chain goes with
its memslot, or its page, is asked when that goes; what is read of a freed descriptor the model tells by itself.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.memslots import KvmMemorySlot, memslots_in_hva_range
from reference_mmu.kvm.observer import PTE_LEAF, PTE_TABLE
from reference_mmu.x86.observed_mmu import ObservedMmu
from reference_mmu.x86.page_table import KvmMmuPage, KvmRmapHead
from reference_mmu.x86.shadow_mmu.rmap import slot_rmap_walk
from reference_mmu.x86.spte import PG_LEVEL_4K, spte_to_pfn


@mypyc_attr(acyclic=True)
class Change:
    """An entry that was changed. `gfn`: of the page that it mapped before, -1 for none; `child`: the table that it led
    to before."""

    def __init__(self, sp: KvmMmuPage, index: i64, gfn: i64, child: KvmMmuPage | None) -> None:
        self.sp = sp
        self.index = index
        self.gfn = gfn
        self.child = child


@mypyc_attr(acyclic=True, free_list_len=1)
class ReverseMaps:
    """`changes`: since mmu_lock was last released."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.changes: list[Change] = []

    def entry_changed(
        self, m: ObservedMmu, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        if was == now and (was < PTE_TABLE or spte_to_pfn(old_spte) == spte_to_pfn(new_spte)):
            return
        gfn = m.leaf_gfns(sp, index, old_spte)[0] if was == PTE_LEAF else -1
        child = m.page_tables[spte_to_pfn(old_spte)] if was == PTE_TABLE else None
        self.changes.append(Change(sp, index, gfn, child))

    def mmu_unlocking(self, m: ObservedMmu) -> None:
        if m.mmu_lock.held[m.actor] >= 0:
            return
        for change in self.changes:
            self.judge(m, change)
        self.changes.clear()

    def judge(self, m: ObservedMmu, change: Change) -> None:
        sp, index = change.sp, change.index
        spte = sp.spt[index]
        kind = m.pte_kind(spte, sp.level)
        gfn = m.leaf_gfns(sp, index, spte)[0] if kind == PTE_LEAF else -1
        child = m.page_tables[spte_to_pfn(spte)] if kind == PTE_TABLE else None
        if gfn >= 0 and times_in_rmap(m, sp, index, gfn) != 1:
            self.reports.report("rmap-differs")
        if change.gfn >= 0 and change.gfn != gfn and times_in_rmap(m, sp, index, change.gfn) != 0:
            self.reports.report("rmap-differs")
        if child is not None and times_a_parent(child, sp, index) != 1:
            self.reports.report("rmap-differs")
        if change.child is not None and change.child is not child and times_a_parent(change.child, sp, index) != 0:
            self.reports.report("rmap-differs")

    def invalidate_started(self, m: ObservedMmu, hva_start: i64, hva_end: i64) -> None:
        """Nothing maps the range when invalidate_range_start returns, not even a table that nobody points to at the
        moment: it may be linked again as it is."""
        if not m.kvm_memslots_have_rmaps():
            return
        for gfn_range in memslots_in_hva_range(m.memslots, hva_start, hva_end):
            for level in range(PG_LEVEL_4K, m.max_huge_level + 1):
                gfn = m.gfn_round_for_level(gfn_range.start, level)
                while gfn < gfn_range.end:
                    if m.tlb_key(gfn, level) in m.rmap:
                        self.reports.report("mapped-during-invalidation")
                    gfn += m.pages_per_hpage(level)

    def table_freed(self, sp: KvmMmuPage) -> None:
        """An entry that points to it could never be found again."""
        if not sp.parent_ptes.is_empty():
            self.reports.report("rmap-leak")

    def slot_zapped(self, m: ObservedMmu, slot: KvmMemorySlot) -> None:
        """The heads are memory of the slot. Nobody maps an INVALID one, so what was there has gone for good."""
        if m.rmap and slot_rmap_walk(m, slot.base_gfn, slot.end_gfn(), PG_LEVEL_4K, m.max_huge_level):
            self.reports.report("rmap-leak")


def times_in_rmap(m: ObservedMmu, sp: KvmMmuPage, index: i64, gfn: i64) -> i64:
    """How often is an SPTE in the rmap of a gfn?"""
    rmap_head = m.rmap.get(m.tlb_key(gfn, sp.level))
    return 0 if rmap_head is None else times_in_chain(rmap_head, sp, index)


def times_a_parent(child: KvmMmuPage, sp: KvmMmuPage, index: i64) -> i64:
    """How often is an SPTE among the parent_ptes of a table?"""
    return times_in_chain(child.parent_ptes, sp, index)


def times_in_chain(rmap_head: KvmRmapHead, sp: KvmMmuPage, index: i64) -> i64:
    sptep = rmap_head.sptep
    if sptep is not None:
        return 1 if sptep[0] is sp and sptep[1] == index else 0
    times: i64 = 0
    desc = rmap_head.desc
    while desc is not None:
        for other, at in desc.sptes:
            if other is sp and at == index:
                times += 1
        desc = desc.more
    return times
