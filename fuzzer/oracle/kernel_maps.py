# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory that KVM has mapped for itself: pinned, held for as long as it is mapped, used no longer than that."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.references import References
from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import Observable


@mypyc_attr(acyclic=True, free_list_len=1)
class KernelMaps:
    """`live`: the pages that KVM has mapped at the moment, each with the actor that mapped it. `let_go`: those of them
    whose last reference that actor has dropped, each with the turn. `cached`: who refreshed a pfncache last, and with
    what."""

    def __init__(self, reports: Reports, references: References) -> None:
        self.reports = reports
        self.references = references
        self.any = False  # of these two there has been anything at all
        self.live: list[tuple[int, int]] = []
        self.let_go: dict[tuple[int, int], int] = {}
        self.cached: tuple[int, int] = (-1, -1)

    def mapped(self, m: Observable, pfn: i64, pinned: bool) -> None:
        """Nothing tells KVM that the page goes away, so a pin must keep it, from the first moment on. The zero page
        goes nowhere; and whoever loads the module with allow_unsafe_mappings wants it otherwise."""
        self.any = True
        self.live.append((int(m.actor), int(pfn)))
        if not pinned and not m.host.folio(pfn).zero and not m.config.allow_unsafe_mappings:
            self.reports.report("unpinned-map")
        # What its owner has mapped by pfn has no reference that anybody could take.
        if self.references.hold_of(m, pfn) is None and m.host.vm_normal_page(m.host.pages[pfn].hva):
            self.reports.report("map-without-reference")

    def released(self, m: Observable, pfn: i64) -> None:
        """A reference or a pin was dropped: of what is mapped, the last one goes when it is unmapped."""
        mark = (int(m.actor), int(pfn))
        if mark in self.live and self.references.hold_of(m, pfn) is None:
            self.let_go[mark] = int(self.reports.turns)

    def used(self, m: Observable, pfn: i64) -> None:
        """By what is no mapping any more, or of a page that may be somebody else's by now."""
        mark = (int(m.actor), int(pfn))
        if mark not in self.live or mark in self.let_go:
            self.reports.report("map-without-reference")

    def unmapped(self, m: Observable, pfn: i64) -> None:
        """In one step with the release, or others had the page while it was mapped."""
        mark = (int(m.actor), int(pfn))
        self.live.remove(mark)
        if mark not in self.live and self.let_go.pop(mark, self.reports.turns) != self.reports.turns:
            self.reports.report("map-without-reference")

    def cache_refreshed(self, m: Observable, pfn: i64) -> None:
        """The page is not pinned: invalidations take it out of the cache, and this one must not have been missed."""
        self.any = True
        if m.host.pte[m.host.pages[pfn].hva] != pfn:
            self.reports.report("mapped-gone-page")
        # The same page may be back at its place, with other rights.
        hold = self.references.hold_of(m, pfn)
        if hold is not None and hold.stale:
            self.reports.report("stale-cache")
        self.cached = (int(m.actor), int(pfn))

    def takes_mark(self, m: Observable, pfn: i64) -> bool:
        """Is the mark that the running actor makes that of a mapping? It marks what it has mapped and not let go of,
        with mmu_lock or without; and what it has cached once, with gpc->lock."""
        mark = (int(m.actor), int(pfn))
        if mark == self.cached:
            self.cached = (-1, -1)
            return True
        return bool(self.live) and mark in self.live and mark not in self.let_go
