# SPDX-License-Identifier: GPL-2.0-only
"""kvm_unmap_gfn_range(): what an mmu_notifier invalidation zaps (mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .machine import Machine
from .shadow_mmu.rmap import kvm_rmap_zap_gfn_range
from .tdp_mmu.zap import kvm_tdp_mmu_unmap_gfn_range


def kvm_unmap_gfn_range(m: Machine, start: i64, end: i64) -> Generator[int, None, bool]:
    """Zap [start, end) in all page tables; True if the caller owes a flush."""
    flush = False
    if m.kvm_memslots_have_rmaps():
        flush = yield from kvm_rmap_zap_gfn_range(m, start, end, flush)
    if m.tdp_mmu_enabled:
        flush = yield from kvm_tdp_mmu_unmap_gfn_range(m, start, end, True, flush)
    return flush
