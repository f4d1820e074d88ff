# SPDX-License-Identifier: GPL-2.0-only
"""What aging should have answered. A wrong "old" is no violation: it is a fact about one model, a rate."""

from __future__ import annotations

from mypy_extensions import i64

from reference_mmu.machine import Machine
from reference_mmu.page_table import KvmMmuPage
from reference_mmu.spte import is_shadow_present_pte


class Accesses:
    """Which gfns the guest touched since they were last aged, and how often aging said "old" all the same.

    Zapping forgets, as it forgets the Accessed bit.
    """

    def __init__(self) -> None:
        self.touched: dict[int, bool] = {}
        self.false_negatives: i64 = 0
        self.false_negative_uids: list[int] = []

    def accessed(self, gfn: i64) -> None:
        self.touched[gfn] = True

    def spte_changed(self, m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        if not self.touched or is_shadow_present_pte(new_spte) or not is_shadow_present_pte(old_spte):
            return
        pages = m.pages_per_hpage(sp.level)
        for gfn in range(sp.gfn + index * pages, sp.gfn + (index + 1) * pages):
            self.touched.pop(gfn, None)

    def aged(self, m: Machine, start: i64, end: i64, young: bool, clear: bool) -> None:
        touched = False
        for gfn in range(start, end):
            if gfn in self.touched:
                touched = True
                if clear:
                    del self.touched[gfn]
        if touched and not young:
            self.false_negatives += 1
            self.false_negative_uids.append(m.uid)
