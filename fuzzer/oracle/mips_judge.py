# SPDX-License-Identifier: GPL-2.0-only
"""The judge of a MIPS machine: all that every machine is judged by, and marks of a page that was just put. Only MIPS
has a handler that makes any; they are told apart from marks of a page that was never taken."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.oracle.judge import Judge
from reference_mmu.kvm.observer import Observable


class MipsJudge(Judge):
    """All oracles of one MIPS machine. `just_put`: (actor, first page of the folio) that the actor has put since it
    released mmu_lock last."""

    def __init__(self) -> None:
        super().__init__()
        self.just_put: list[tuple[int, int]] = []

    def page_put(self, m: Observable, pfn: i64) -> None:
        super().page_put(m, pfn)
        self.just_put.append((int(m.actor), int(m.host.pages[pfn].head)))

    def mmu_unlocking(self, m: Observable) -> None:
        super().mmu_unlocking(m)
        self.just_put = [put for put in self.just_put if put[0] != m.actor]

    def page_marked(self, m: Observable, pfn: i64, dirty: bool) -> None:
        put = (int(m.actor), int(m.host.pages[pfn].head)) in self.just_put
        if put and m.mmu_lock.held[m.actor] == 0 and self.references.hold_of(m, pfn) is None:
            self.report("mark-after-put")
        else:
            super().page_marked(m, pfn, dirty)
