# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory that KVM has mapped for itself: pinned, and let go of as it was taken."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import Observable


@mypyc_attr(acyclic=True, free_list_len=1)
class KernelMaps:
    """`live`: the pages that KVM has mapped at the moment, each with the actor that mapped it. `cached`: who
    refreshed a pfncache last, and with what."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.any = False  # of these two there has been anything at all
        self.live: list[tuple[int, int]] = []
        self.cached: tuple[int, int] = (-1, -1)

    def mapped(self, m: Observable, pfn: i64, pinned: bool) -> None:
        """Nothing tells KVM that the page goes away, so a pin must keep it, from the first moment on. The zero page
        goes nowhere; and whoever loads the module with allow_unsafe_mappings wants it otherwise."""
        self.any = True
        self.live.append((int(m.actor), int(pfn)))
        if not pinned and not m.host.folio(pfn).zero and not m.config.allow_unsafe_mappings:
            self.reports.report("unpinned-map")

    def unmapped(self, m: Observable, pfn: i64) -> None:
        self.live.remove((int(m.actor), int(pfn)))

    def cache_refreshed(self, m: Observable, pfn: i64) -> None:
        self.any = True
        self.cached = (int(m.actor), int(pfn))

    def has(self, m: Observable, pfn: i64) -> bool:
        """Has the running actor mapped the page? Then it marks it when it unmaps it, with mmu_lock or without; and
        with gpc->lock when it has cached it."""
        mark = (int(m.actor), int(pfn))
        if mark == self.cached:
            self.cached = (-1, -1)
            return True
        return bool(self.live) and mark in self.live
