# SPDX-License-Identifier: GPL-2.0-only
"""What the guest reads and writes, and what is left of it: freed pages, stale reads, lost and unseen writes."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import MARKS_AT_ZAP, PTE_LEAF, Observable
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mm.host import HOST_D


@mypyc_attr(acyclic=True, free_list_len=1)
class Contents:
    """`protected`: gfns whose write tracking is complete, i.e. whose adder has flushed. `strays`: loads of the guest
    that found something else than what was last written."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.protected: dict[int, bool] = {}
        self.strays: set[int] = set()

    def accessed(self, m: Observable, gfn: i64, pfn: i64, write: bool) -> None:
        page = m.host.pages[pfn]
        strays = not write and page.data != m.host.reference[page.hva]
        if page.freed:
            self.reports.report("freed-page-access")
        elif strays:
            self.reports.report("stale-read")
        if strays:
            self.strays.add(int(self.reports.uid))
        if write and gfn in self.protected:
            self.reports.report("untracked-write")

    def tracked(self, m: Observable, gfn: i64) -> None:
        """Write tracking is complete for the one who added it: nobody may still be able to write."""
        for vcpu in m.vcpus:
            if m.can_use(vcpu, gfn, gfn + 1, TLB_W):
                self.reports.report("writable-after-tracking")
        self.protected[int(gfn)] = True

    def untracked(self, gfn: i64) -> None:
        self.protected.pop(int(gfn), None)

    def finish(self, m: Observable) -> None:
        """Every store the guest made must be in memory, in the swap cache or in the backing store; and what the
        backing store does not have must be known to be dirty: by the page, by the host PTE, or by an SPTE whose zap
        will tell. Memory without a backing store is not reclaimed, and PG_reserved pages are not KVM's to mark."""
        host = m.host
        told = told_by_leaves(m) if m.dirty_marks() == MARKS_AT_ZAP else set()
        for hva in range(host.n):
            if host.contents(hva) != host.reference[hva]:
                self.reports.report("lost-write")
            if not host.is_saved(hva) or host.contents(hva) == host.swap[hva] or int(host.pte[hva]) in told:
                continue
            if not known_dirty(m, hva):
                self.reports.report("unsaved-write")


def known_dirty(m: Observable, hva: i64) -> bool:
    """Would reclaim write out what is at `hva`, because of PG_dirty or of the host PTE?"""
    host = m.host
    pfn = host.pte[hva]
    if pfn >= 0 and (host.flags[hva] & HOST_D) != 0:
        return True
    if pfn < 0:
        pfn = host.swap_cache[hva]
    return pfn >= 0 and host.folio(pfn).dirty


def told_by_leaves(m: Observable) -> set[int]:
    """Pages through whose leaves the guest may have written, and which the zap of the leaf would mark dirty."""
    told = set[int]()
    for sp in m.tables():  # a shadow page that is linked nowhere at the moment will be zapped like the others
        for spte in sp.spt if not sp.freed else []:
            if m.pte_kind(spte, sp.level) == PTE_LEAF and m.leaf_dirty(spte):
                pfn = int(m.pte_pfn(spte))
                told.update(range(pfn, pfn + int(m.pages_per_hpage(sp.level))))
    return told
