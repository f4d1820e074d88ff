# SPDX-License-Identifier: GPL-2.0-only
"""What an observer reads of a machine with a stage-2 table."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from ..kvm.observer import (
    LEAF_ACCESSED,
    LEAF_DIRTY,
    LEAF_ELSE,
    PTE_FROZEN,
    PTE_LEAF,
    PTE_NONE,
    PTE_TABLE,
    Observable,
)
from ..kvm.page_table import PageTable
from ..kvm.vcpu import TLB_W, KvmVcpu
from .machine import Stage2Machine
from .pte import (
    S2_DIRTY,
    S2_LOCKED,
    S2_MAY_WRITE,
    S2_WRITE,
    S2_YOUNG,
    is_leaf,
    is_table,
    is_writable,
    pfn_of,
)

_WORDS: Final = ((S2_WRITE, "W"), (S2_MAY_WRITE, "may-W"), (S2_YOUNG, "young"), (S2_DIRTY, "D"))


class ObservedStage2(Stage2Machine):
    """Reads; changes nothing."""

    def pte_kind(self, pte: i64, level: i64) -> i64:
        if is_leaf(pte):
            return PTE_LEAF
        if is_table(pte):
            return PTE_TABLE
        return PTE_FROZEN if pte & S2_LOCKED else PTE_NONE

    def pte_pfn(self, pte: i64) -> i64:
        return pfn_of(pte)

    def pte_writable(self, pte: i64) -> bool:
        return is_writable(pte)

    def pte_may_write(self, pte: i64) -> bool:
        return pte & (S2_WRITE | S2_MAY_WRITE) != 0

    def leaf_young(self, pte: i64) -> bool:
        return pte & S2_YOUNG != 0

    def silent_rights(self, vcpu: KvmVcpu) -> i64:
        return TLB_W

    def leaf_difference(self, pte: i64, other: Observable, other_pte: i64) -> i64:
        """WRITE counts by MAY_WRITE: a dirty log that was harvested a moment earlier or later tells nothing."""
        changed = pte ^ other_pte
        found: i64 = 0
        if changed & S2_YOUNG:
            found |= LEAF_ACCESSED
        if changed & S2_DIRTY:
            found |= LEAF_DIRTY
        rest = changed & ~(S2_YOUNG | S2_DIRTY)
        if pte & other_pte & S2_MAY_WRITE:
            rest &= ~S2_WRITE
        return found | LEAF_ELSE if rest else found

    def leaf_words(self, pte: i64) -> str:
        return " ".join([f"pfn {pfn_of(pte)}", *[word for bit, word in _WORDS if pte & bit]])

    def tables(self) -> list[PageTable]:
        return self.page_tables

    def table(self, number: i64) -> PageTable:
        return self.page_tables[number]

    def roots(self) -> list[PageTable]:
        return [self.root]

    def top(self, sp: PageTable) -> PageTable:
        """All tables belong to the one root."""
        return self.root

    def root_of(self, vcpu: KvmVcpu) -> PageTable | None:
        return self.root

    def hardware_bits(self) -> i64:
        return S2_YOUNG if self.hardware_young else 0

    def logged_in_flight(self) -> list[int]:
        return self.unlogged
