# SPDX-License-Identifier: GPL-2.0-only
"""The judge of a RISC-V machine: all that every machine is judged by, and that what a fault marks dirty is mapped. Only
RISC-V has a handler that marks a page before it knows."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.oracle.judge import Judge
from reference_mmu.kvm.observer import PTE_LEAF, Observable


class RiscvJudge(Judge):
    """All oracles of one RISC-V machine. `dirtied`: pages marked dirty by who has mmu_lock, which is a spinlock."""

    def __init__(self) -> None:
        super().__init__()
        self.dirtied: list[int] = []

    def page_marked(self, m: Observable, pfn: i64, dirty: bool) -> None:
        super().page_marked(m, pfn, dirty)
        hold = self.references.hold_of(m, pfn)
        # One that is stale is another invariant's affair.
        if dirty and m.mmu_lock.held[m.actor] != 0 and hold is not None and not hold.stale:
            self.dirtied.append(int(pfn))

    def mmu_unlocking(self, m: Observable) -> None:
        super().mmu_unlocking(m)
        for pfn in self.dirtied:
            if not maps(m, pfn):
                self.report("dirty-unmapped")
        self.dirtied.clear()


def maps(m: Observable, pfn: int) -> bool:
    """Does any leaf?"""
    for sp in m.linked_tables():
        pages = m.pages_per_hpage(sp.level)
        for pte in sp.spt:
            if m.pte_kind(pte, sp.level) == PTE_LEAF and m.pte_pfn(pte) <= pfn < m.pte_pfn(pte) + pages:
                return True
    return False
