# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine that has registered its mmu_notifier with the process (kvm_init_mmu_notifier()): what mm/ calls
is what kvm/mmu_notifier.py does."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .kvm import Kvm
from .mmu_notifier import (
    kvm_mmu_notifier_clear_flush_young,
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)


class Vm(Kvm):
    """The notifier's operations (kvm_mmu_notifier_ops)."""

    def mmu_notifier_invalidate_range_start(self, start: i64, end: i64) -> Generator[int, None, None]:
        return kvm_mmu_notifier_invalidate_range_start(self, start, end)

    def mmu_notifier_invalidate_range_end(self, start: i64, end: i64) -> Generator[int, None, None]:
        return kvm_mmu_notifier_invalidate_range_end(self, start, end)

    def mmu_notifier_clear_flush_young(self, start: i64, end: i64) -> Generator[int, None, bool]:
        return kvm_mmu_notifier_clear_flush_young(self, start, end)
