# SPDX-License-Identifier: GPL-2.0-only
"""Nobody makes a mapping through which a write-tracked gfn could be written (mmu_try_to_unsync_pages(), lpage_info)."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import PTE_LEAF
from reference_mmu.x86.observed_mmu import ObservedMmu
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import PG_LEVEL_4K, is_mmu_writable_spte


@mypyc_attr(acyclic=True, free_list_len=1)
class WriteTracking:
    """What there is when tracking is added is another question: Contents.tracked(). Until then it is write-protected
    bit by bit, and fast_page_fault() may give W back to what is MMU-writable still."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports

    def entry_changed(
        self, m: ObservedMmu, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        if now != PTE_LEAF:
            return
        huge = sp.level > PG_LEVEL_4K and was != PTE_LEAF
        had = was == PTE_LEAF and is_mmu_writable_spte(m.masks, old_spte)
        if not huge and (had or not is_mmu_writable_spte(m.masks, new_spte)):
            return
        if m.obsolete(m.top(sp)):  # last, since it climbs to the root
            return
        first, end = m.leaf_gfns(sp, index, new_spte)
        for gfn in range(first, end):
            if gfn in m.tracked_gfns:
                self.reports.report("writable-after-tracking")
