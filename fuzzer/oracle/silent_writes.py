# SPDX-License-Identifier: GPL-2.0-only
"""What makes a page of a logging memslot writable also sets its bit (make_spte(), mark_page_dirty_in_slot())."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.dirty import DirtyLog
from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.memslots import search_memslots
from reference_mmu.kvm.observer import PTE_LEAF
from reference_mmu.x86.observed_mmu import ObservedMmu
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import is_writable_pte, spte_to_pfn


@mypyc_attr(acyclic=True, free_list_len=1)
class SilentWrites:
    """`gained`: by actor that holds mmu_lock, the gfns that it has made writable so that nobody notices a write. Until
    it lets go of the lock no log can be taken, so the bit is there or on its way. What fast_page_fault() gives W back
    to, it marks without the lock. What could be written before is for those who enable the log, and take it."""

    def __init__(self, reports: Reports, log: DirtyLog) -> None:
        self.reports = reports
        self.log = log
        self.gained: dict[int, list[int]] = {}

    def entry_changed(self, m: ObservedMmu, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64, was: i64) -> None:
        if not is_writable_pte(new_spte) or m.mmu_lock.held[m.actor] == 0:
            return
        root = m.top(sp)
        same = was == PTE_LEAF and spte_to_pfn(old_spte) == spte_to_pfn(new_spte)
        if not m.leaf_silent(root, new_spte) or (same and m.leaf_silent(root, old_spte)):
            return
        first, end = m.leaf_gfns(sp, index, new_spte)
        for gfn in range(first, end):
            if self.is_clean(m, gfn):
                self.gained.setdefault(int(m.actor), []).append(int(gfn))

    def is_clean(self, m: ObservedMmu, gfn: i64) -> bool:
        """Is it a page of a logging memslot whose bit is not set? Between the flag and the end of the ioctl a fault may
        still go by the memslot without the flag."""
        slot = search_memslots(m.memslots, gfn)
        if slot is None or not slot.log_dirty_pages or m.is_dirty(slot, gfn):
            return False
        return slot.number in self.log.copies

    def mmu_unlocking(self, m: ObservedMmu) -> None:
        """Nearly all mark before they store."""
        gained = self.gained.pop(int(m.actor), None)
        if gained is None:
            return
        in_flight = m.logged_in_flight()
        if any(self.is_clean(m, gfn) and gfn not in in_flight for gfn in gained):
            self.reports.report("writable-unlogged")
