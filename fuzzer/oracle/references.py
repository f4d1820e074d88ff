# SPDX-License-Identifier: GPL-2.0-only
"""References and pins: who has taken which page, and whether they are dropped by whom and where they were taken."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import Observable
from reference_mmu.mm.host import Host
from reference_mmu.mm.page import GUP_PIN_COUNTING_BIAS, Page


@mypyc_attr(acyclic=True, free_list_len=1)
class Hold:
    """What one actor has taken of one folio, by GUP, and not dropped yet.

    `head`      the folio's first page.
    `hva`       where the page was that was taken last.
    `count`     references and pins; 0: it is free for another.
    `stale`     since it was taken an invalidation of that address has begun: a fault has to see that and begin again.
    `cleaned`   how often the folio had been cleaned when the first such invalidation began.
    """

    def __init__(self) -> None:
        self.actor: i64 = 0
        self.head: i64 = 0
        self.hva: i64 = 0
        self.count: i64 = 0
        self.stale = False
        self.cleaned: i64 = 0


@mypyc_attr(acyclic=True, free_list_len=1)
class References:
    """Few are held at any time, so a list does. What was dropped leaves its place to what is taken next."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.holds: list[Hold] = []
        self.n_held: i64 = 0  # of them, those that count something

    def hold_of(self, m: Observable, pfn: i64) -> Hold | None:
        """What the running actor holds of the page's folio."""
        if self.n_held == 0:
            return None
        head = m.host.pages[pfn].head
        for hold in self.holds:
            if hold.head == head and hold.actor == m.actor and hold.count != 0:
                return hold
        return None

    def holds_any(self, actor: i64) -> bool:
        return any(hold.actor == actor and hold.count != 0 for hold in self.holds)

    def taken(self, m: Observable, pfn: i64) -> None:
        page = m.host.pages[pfn]
        hold = self.hold_of(m, pfn)
        if hold is None:
            hold = self.free_hold()
            hold.actor = m.actor
            hold.head = page.head
            self.n_held += 1
        hold.hva = page.hva
        hold.count += 1
        hold.stale = False

    def free_hold(self) -> Hold:
        for hold in self.holds:
            if hold.count == 0:
                return hold
        hold = Hold()
        self.holds.append(hold)
        return hold

    def dropped(self, m: Observable, pfn: i64) -> None:
        """A reference or a pin is about to be dropped: its actor must have taken one of that folio."""
        hold = self.hold_of(m, pfn)
        if hold is not None:
            hold.count -= 1
            if hold.count == 0:
                self.n_held -= 1
            return
        self.reports.report("refcount-underflow")
        if self.holds_any(m.actor):
            self.reports.report("released-with-wrong-page")

    def invalidate_started(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        """invalidate_range_start() returns: whoever looked the page up before is out of date."""
        if self.n_held == 0:
            return
        for hold in self.holds:
            if hold.count != 0 and hva_start <= hold.hva < hva_end and not hold.stale:
                hold.stale = True
                hold.cleaned = m.host.folio(hold.head).cleaned

    def finish(self, m: Observable) -> None:
        """The program has ended: nobody is in a fault any more, nothing is mapped, and no folio is locked."""
        for page in m.host.pages:
            if page.kvm_refs > 0 or page.kvm_pins > 0:
                self.reports.report("refcount-leak")
        self.audit(m.host)

    def audit(self, host: Host) -> None:
        """Every folio is counted as often as it is held: by the process, once for each place where it is mapped or in
        the swap cache, or by the page cache of a guest_memfd; by KVM; and by others."""
        places: vec[i64] = vec[i64]([0] * len(host.pages))
        for hva in range(host.n):
            pfn = host.page_at(hva)
            if pfn >= 0 and host.vm_normal_page(hva):
                places[host.pages[pfn].head] += 1
        for at, page in enumerate(host.pages):
            if page.head == at and page.refcount != places[at] + page.others + held_by_kvm(page):
                self.reports.report("refcount-differs")


def held_by_kvm(page: Page) -> i64:
    """What KVM has added to the count of a folio."""
    return page.kvm_refs + page.kvm_pins * (1 if page.large else GUP_PIN_COUNTING_BIAS)
