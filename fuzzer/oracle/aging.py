# SPDX-License-Identifier: GPL-2.0-only
"""What aging should have answered. A wrong "old" is no violation: it is a fact about one model, a rate."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from fuzzer.oracle.walk import leaf_gfns
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import is_last_spte, is_shadow_present_pte


@mypyc_attr(acyclic=True, free_list_len=1)
class Accesses:
    """Which gfns the guest touched since they were last aged, and how often aging said "old" all the same.

    Zapping forgets, as it forgets the Accessed bit. KVM always tolerated a wrong "old" after clear_young and
    test_young; only one after a clear_flush_young is noted as an effect, since its flush makes the next access set the
    bit again.
    """

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.touched: dict[int, bool] = {}
        self.false_negatives: i64 = 0
        self.false_negative_uids: list[int] = []
        self.flush_young_uids: list[int] = []
        self.cleared_with_flush: dict[int, bool] = {}  # gfns whose last aging was a clear_flush_young

    def flush_young(self, m: Machine) -> None:
        self.flush_young_uids.append(int(m.uid))

    def accessed(self, gfn: i64) -> None:
        self.touched[gfn] = True

    def spte_changed(self, m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        if not self.touched or is_shadow_present_pte(new_spte) or not is_shadow_present_pte(old_spte):
            return
        if not sp.direct and not is_last_spte(old_spte, sp.level):
            return  # what is below keeps its Accessed bits
        first, end = leaf_gfns(m, sp, index, old_spte)
        for gfn in range(first, end):
            self.touched.pop(gfn, None)

    def aged(self, m: Machine, start: i64, end: i64, young: bool, clear: bool) -> None:
        with_flush = m.uid in self.flush_young_uids
        touched = False
        noted = False
        for gfn in range(start, end):
            if gfn in self.touched:
                touched = True
                noted = noted or gfn in self.cleared_with_flush
                if clear:
                    del self.touched[gfn]
            if clear and with_flush:
                self.cleared_with_flush[gfn] = True
            elif clear:
                self.cleared_with_flush.pop(gfn, None)
        if touched and not young:
            self.false_negatives += 1
            self.false_negative_uids.append(int(m.uid))
            if noted:
                self.reports.note("young-false-negative")
