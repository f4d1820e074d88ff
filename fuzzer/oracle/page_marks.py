# SPDX-License-Identifier: GPL-2.0-only
"""Marks on struct page: made while nobody can have cleaned or freed the page, on a page that KVM has something to do
with, and on a page that the guest may write before it is too late."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.contents import known_dirty
from fuzzer.oracle.references import References
from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import MARKS_AT_MAP, MARKS_AT_ZAP, MARKS_LATER, PTE_LEAF, Observable
from reference_mmu.kvm.page_table import PageTable


@mypyc_attr(acyclic=True, free_list_len=1)
class Unmarked:
    """Pages [pfn, pfn + pages) that `actor` must have marked dirty when it releases mmu_lock. `cleaned`: how often the
    first had been cleaned; if it was since, that was done by somebody who had a reason to."""

    def __init__(self, actor: i64, pfn: i64, pages: i64, cleaned: i64) -> None:
        self.actor = actor
        self.pfn = pfn
        self.pages = pages
        self.cleaned = cleaned


@mypyc_attr(acyclic=True, free_list_len=1)
class PageMarks:
    """`at`: MARKS_* of the machine."""

    def __init__(self, reports: Reports, references: References) -> None:
        self.reports = reports
        self.references = references
        self.unmarked: list[Unmarked] = []
        self.at: i64 = MARKS_LATER

    def attach(self, m: Observable) -> None:
        self.at = m.dirty_marks()

    def marked(self, m: Observable, pfn: i64, dirty: bool) -> None:
        """KVM marks a page accessed or dirty. With mmu_lock held no invalidation can end, which lets the primary MMU
        clean or free the page: that it is mapped is then enough. Else a reference keeps it allocated."""
        locked = m.mmu_lock.held[m.actor] != 0
        if locked and not dirty:
            return
        hold = self.references.hold_of(m, pfn)
        if not locked and hold is None:
            self.reports.report("mark-without-reference")
            if self.references.holds_any(m.actor):
                self.reports.report("released-with-wrong-page")
        elif not locked and self.at != MARKS_LATER:
            self.reports.report("late-page-mark")
        if dirty and hold is not None and hold.stale:
            if locked:
                self.reports.report("stale-fault-marks-dirty")
            if m.host.folio(pfn).cleaned > hold.cleaned:
                self.reports.report("dirty-after-clean")

    def spte_changed(self, m: Observable, sp: PageTable, old_spte: i64, new_spte: i64, was: i64, now: i64) -> None:
        """A leaf lets the guest write from now on, or what told that it may have written is gone."""
        if self.at == MARKS_AT_MAP:
            if now != PTE_LEAF or not m.pte_may_write(new_spte) or (was == PTE_LEAF and m.pte_may_write(old_spte)):
                return
            pfn = m.pte_pfn(new_spte)
        elif self.at == MARKS_AT_ZAP:
            if was != PTE_LEAF or not m.leaf_dirty(old_spte) or (now == PTE_LEAF and m.leaf_dirty(new_spte)):
                return
            pfn = m.pte_pfn(old_spte)
        else:
            return
        self.unmarked.append(Unmarked(m.actor, pfn, m.pages_per_hpage(sp.level), m.host.folio(pfn).cleaned))

    def mmu_unlocking(self, m: Observable) -> None:
        """From here on the primary MMU may look at the page, and drop what is not dirty."""
        if not self.unmarked:
            return
        others = False
        for entry in self.unmarked:
            if entry.actor != m.actor:
                others = True
            elif m.host.folio(entry.pfn).cleaned == entry.cleaned:
                for pfn in range(entry.pfn, entry.pfn + entry.pages):
                    self.judge_page(m, pfn)
        self.unmarked = [entry for entry in self.unmarked if entry.actor != m.actor] if others else []

    def cleaned(self, m: Observable, pfn: i64) -> None:
        """Nobody may go on writing a page that was just cleaned. A table that was filled for a split and never linked
        maps nothing."""
        if self.at != MARKS_AT_MAP or any(entry.pfn <= pfn < entry.pfn + entry.pages for entry in self.unmarked):
            return
        for sp in m.linked_tables():
            pages = m.pages_per_hpage(sp.level)
            for spte in sp.spt:
                if m.pte_kind(spte, sp.level) != PTE_LEAF or not m.pte_may_write(spte):
                    continue
                if m.pte_pfn(spte) <= pfn < m.pte_pfn(spte) + pages:
                    self.judge_page(m, pfn)

    def judge_page(self, m: Observable, pfn: i64) -> None:
        """The guest may write it: it must be dirty, by PG_dirty or by the host PTE. What has no backing store is never
        written out, and PG_reserved pages are not KVM's to mark."""
        page = m.host.pages[pfn]
        if page.reserved or page.freed or not m.host.is_saved(page.hva) or m.host.pte[page.hva] != pfn:
            return
        if not known_dirty(m, page.hva):
            self.reports.report("writable-clean-page")
