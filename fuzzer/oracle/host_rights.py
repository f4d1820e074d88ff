# SPDX-License-Identifier: GPL-2.0-only
"""What the host process has at an address, and may do with it, is the most that the guest gets."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.memslots import search_memslots
from reference_mmu.kvm.observer import PTE_LEAF, PTE_TABLE, Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.mm.host import HOST_SHARED, HOST_W


@mypyc_attr(acyclic=True, free_list_len=1)
class HostRights:
    """Looks at leaves, and at entries that KVM itself puts into a TLB, when they are made. mmu_lock is held then, so
    that nothing can have changed in the host's page table since the page was looked up, unless the fault is stale
    and did not notice."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports

    def spte_changed(
        self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        if now != PTE_LEAF:
            return
        fresh = was != PTE_TABLE and was != PTE_LEAF
        writable = m.pte_may_write(new_spte) and (fresh or not m.pte_may_write(old_spte))
        if not fresh and not writable:
            return
        self.mapped(m, m.leaf_gfns(sp, index, new_spte)[0], sp.level, m.pte_pfn(new_spte), writable)

    def tlb_filled(self, m: Observable, gfn: i64, level: i64, pfn: i64, writable: bool) -> None:
        """An entry that KVM makes is a leaf, but for those that are made without mmu_lock: those may be stale, which
        shows where it does harm."""
        if m.mmu_lock.held[m.actor] != 0:
            self.mapped(m, m.gfn_round_for_level(gfn, level), level, pfn, writable)

    def mapped(self, m: Observable, first: i64, level: i64, pfn: i64, writable: bool) -> None:
        """The pages from `pfn` on are what the process has at the addresses of the gfns from `first` on. All of these
        are in memslots, or none: a fault whose memslot has gone meanwhile is somebody else's to judge."""
        beyond: i64 = 0
        for at in range(m.pages_per_hpage(level)):
            slot = search_memslots(m.memslots, first + at)
            if slot is None:
                beyond += 1
                continue
            hva = m.hva_in_slot(slot, first + at)
            if m.host.pte[hva] != pfn + at:
                self.reports.report("mapped-gone-page")
            elif writable and (slot.readonly or not may_write(m, hva)):
                self.reports.report("not-host-writable")
        if 0 < beyond < m.pages_per_hpage(level):
            self.reports.report("mapped-beyond-slot")


def may_write(m: Observable, hva: i64) -> bool:
    """May the process write the page that it has at hva, without a fault?"""
    if (m.host.flags[hva] & (HOST_W | HOST_SHARED)) != HOST_W:
        return False
    return not m.host.pages[m.host.pte[hva]].zero
