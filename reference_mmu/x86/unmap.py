# SPDX-License-Identifier: GPL-2.0-only
"""kvm_unmap_gfn_range(): what an mmu_notifier invalidation zaps (mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from ..kvm.memslots import KvmGfnRange
from .apic_access_page import APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, request_apic_page_reload
from .machine import Machine
from .shadow_mmu.rmap import kvm_rmap_zap_gfn_range
from .tdp_mmu.zap import kvm_tdp_mmu_unmap_gfn_range


def kvm_unmap_gfn_range(m: Machine, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
    """Zap the range in all page tables, and in what VMCSs point to; True if the caller owes a flush."""
    flush = False
    start, end = gfn_range.start, gfn_range.end
    if m.kvm_memslots_have_rmaps():
        flush = yield from kvm_rmap_zap_gfn_range(m, start, end, flush)
    if m.tdp_mmu_enabled:
        flush = yield from kvm_tdp_mmu_unmap_gfn_range(m, start, end, True, flush)
    if gfn_range.slot.number == APIC_ACCESS_PAGE_PRIVATE_MEMSLOT:
        yield from request_apic_page_reload(m)
    return flush
