# SPDX-License-Identifier: GPL-2.0-only
"""The judge of an arm64 machine: all that every machine is judged by, and break before make."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.oracle.break_before_make import BreakBeforeMake
from fuzzer.oracle.judge import Judge
from reference_mmu.kvm.observer import Observable
from reference_mmu.kvm.page_table import PageTable


class Arm64Judge(Judge):
    """All oracles of one arm64 machine."""

    def __init__(self) -> None:
        super().__init__()
        self.break_before_make = BreakBeforeMake(self.reports)

    def spte_changed(self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64) -> None:
        super().spte_changed(m, sp, index, old_spte, new_spte)
        self.break_before_make.spte_changed(m, sp, index, old_spte, new_spte)
