# SPDX-License-Identifier: GPL-2.0-only
"""The form of what stands in page tables of x86: what a CPU would make of it, and who may change it."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import PTE_FROZEN, PTE_LEAF, PTE_NONE, PTE_TABLE
from reference_mmu.x86.observed_mmu import ObservedMmu
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import PT_WRITABLE_MASK, SHADOW_NONPRESENT_VALUE, spte_to_pfn


@mypyc_attr(acyclic=True, free_list_len=1)
class TableEntries:
    """`frozen`: who made an entry FROZEN, by table and index. Its mmu_lock is held for read, so that he relies on
    everybody else to leave the entry alone until he stores the next value (tdp_mmu_zap_spte_atomic())."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.frozen: dict[tuple[int, int], int] = {}

    def entry_changed(
        self, m: ObservedMmu, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        if was == PTE_FROZEN and new_spte != old_spte:
            self.judge_thaw(m, sp, index)
        if now == PTE_FROZEN:
            self.frozen[int(sp.pt), int(index)] = int(m.actor)
        elif now == PTE_TABLE:
            self.judge_link(m, old_spte, new_spte, was)
        elif now == PTE_NONE and new_spte != SHADOW_NONPRESENT_VALUE:
            self.reports.report("illegal-spte")

    def judge_thaw(self, m: ObservedMmu, sp: KvmMmuPage, index: i64) -> None:
        """In a table that was torn down FROZEN is for ever: nothing that is stored there could ever be zapped."""
        freezer = self.frozen.pop((int(sp.pt), int(index)), -1)
        if sp.unlinked or (freezer >= 0 and freezer != m.actor):
            self.reports.report("frozen-store")

    def judge_link(self, m: ObservedMmu, old_spte: i64, new_spte: i64, was: i64) -> None:
        """An entry that leads to a table allows everything, since leaves decide (make_nonleaf_spte()); and from now on
        a CPU goes by what is in the table."""
        masks = m.masks
        everything = PT_WRITABLE_MASK | masks.shadow_present_mask | masks.shadow_user_mask | masks.shadow_x_mask
        if (new_spte & everything) != everything:
            self.reports.report("illegal-spte")
        child = m.page_tables[spte_to_pfn(new_spte)]
        for index in range(m.entries):
            spte = child.spt[index]
            kind = m.pte_kind(spte, child.level)
            strange = kind < PTE_TABLE and spte != SHADOW_NONPRESENT_VALUE
            if strange or (was == PTE_LEAF and not is_piece(m, child, index, spte, old_spte)):
                self.reports.report("illegal-spte")


def is_piece(m: ObservedMmu, child: KvmMmuPage, index: i64, spte: i64, huge_spte: i64) -> bool:
    """Does an entry of a table that takes the place of a huge leaf map what that did, allowing no more? Nobody flushes:
    both may be cached (make_huge_page_split_spte())."""
    if m.pte_kind(spte, child.level) != PTE_LEAF:
        return False
    masks = m.masks
    rights = PT_WRITABLE_MASK | masks.shadow_present_mask | masks.shadow_user_mask | masks.shadow_x_mask
    rights |= masks.shadow_host_writable_mask | masks.shadow_mmu_writable_mask
    pfn = spte_to_pfn(huge_spte) + index * m.pages_per_hpage(child.level)
    return spte_to_pfn(spte) == pfn and (spte & rights & ~huge_spte) == 0
