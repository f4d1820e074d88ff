# SPDX-License-Identifier: GPL-2.0-only
"""What aging should have answered. "Old" for a page whose SPTE says that it was used is a violation; for one that was
used without the SPTE being set, since the TLB had it, it is a fact about one model, a rate."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import PTE_LEAF, PTE_TABLE, Observable
from reference_mmu.kvm.page_table import PageTable


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

    def flush_young(self, m: Observable) -> None:
        self.flush_young_uids.append(int(m.uid))

    def accessed(self, gfn: i64) -> None:
        self.touched[gfn] = True

    def spte_changed(self, m: Observable, sp: PageTable, index: i64, old_spte: i64, was: i64, now: i64) -> None:
        if not self.touched or now >= PTE_TABLE or was < PTE_TABLE:
            return
        if not m.accessed_bits_go(sp, was == PTE_LEAF):
            return
        first, end = m.leaf_gfns(sp, index, old_spte)
        for gfn in range(first, end):
            self.touched.pop(gfn, None)

    def aged(self, m: Observable, start: i64, end: i64, young: bool, clear: bool) -> None:
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
        if not young and told_young(m, start, end):
            self.reports.report("unreported-young")
        if touched and not young:
            self.false_negatives += 1
            self.false_negative_uids.append(int(m.uid))
            if noted:
                self.reports.note("young-false-negative")


def told_young(m: Observable, start: i64, end: i64) -> bool:
    """Does a leaf of the range, below a root that can be loaded, have its Accessed bit? An event that was answered with
    "old" has cleared none, and nobody could run before the answer."""
    pages = [int(gfn) for gfn in range(start, end)]
    direct = m.pages_are_gfns()
    for root in m.roots():
        if m.obsolete(root):
            continue
        for page in pages if direct else m.pages_mapping(root, pages):
            pte, level = m.leaf_of(root, page)
            if level != 0 and m.leaf_young(pte):
                return True
    return False
