# SPDX-License-Identifier: GPL-2.0-only
"""kvm_zap_gfn_range(): zap a gfn range because what KVM knows about it changed, e.g. its memory type (mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.flush import kvm_flush_remote_tlbs
from ..kvm.mmu_notifier import kvm_mmu_invalidate_begin, kvm_mmu_invalidate_end, kvm_mmu_invalidate_range_add
from .machine import Machine
from .points import RANGE_FLUSH, RANGE_LOCK
from .shadow_mmu.rmap import kvm_rmap_zap_gfn_range
from .tdp_mmu.tdp_mmu import tdp_mmu_next_root
from .tdp_mmu.zap import tdp_mmu_zap_leafs


def kvm_zap_gfn_range(m: Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """Zap [start, end) in the valid roots. A fault in flight is made stale, as by a notifier."""
    yield RANGE_LOCK
    m.write_lock()
    m.oracle.range_zap_begun(m)
    kvm_mmu_invalidate_begin(m)
    kvm_mmu_invalidate_range_add(m, start, end)
    flush = False
    if m.kvm_memslots_have_rmaps():
        flush = yield from kvm_rmap_zap_gfn_range(m, start, end, flush)
    if m.tdp_mmu_enabled:
        root = tdp_mmu_next_root(m, None, True)
        while root is not None:
            flush = yield from tdp_mmu_zap_leafs(m, root, start, end, True, flush)
            root = tdp_mmu_next_root(m, root, True)
    if flush:
        yield from kvm_flush_remote_tlbs(m, RANGE_FLUSH)
    kvm_mmu_invalidate_end(m)
    m.oracle.range_zapped(m, start, end)
    m.write_unlock()
