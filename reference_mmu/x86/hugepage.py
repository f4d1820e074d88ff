# SPDX-License-Identifier: GPL-2.0-only
"""How large a mapping may be (kvm_mmu_max_mapping_level() and kvm_mmu_hugepage_adjust() in mmu.c)."""

from __future__ import annotations

from mypy_extensions import i64

from ..kvm.memslots import KvmMemorySlot
from .lpage_info import lpage_disallowed
from .machine import Machine
from .page_fault import KvmPageFault
from .spte import PG_LEVEL_4K, PG_LEVEL_NUM


def host_pfn_mapping_level(m: Machine, gfn: i64, slot: KvmMemorySlot) -> i64:
    """The level at which the primary MMU maps the page. Stable only as long as no invalidation of the gfn can start,
    i.e. under mmu_lock after the stale check."""
    return m.host.mapping_level(slot.hva + gfn - slot.base_gfn)


def __kvm_mmu_max_mapping_level(m: Machine, slot: KvmMemorySlot, gfn: i64, max_level: i64) -> i64:
    max_level = min(max_level, m.max_huge_level)
    while max_level > PG_LEVEL_4K and lpage_disallowed(m, slot, gfn, max_level):
        max_level -= 1
    if max_level == PG_LEVEL_4K:
        return PG_LEVEL_4K
    return min(host_pfn_mapping_level(m, gfn, slot), max_level)


def kvm_mmu_max_mapping_level(m: Machine, slot: KvmMemorySlot, gfn: i64, max_level: i64) -> i64:
    """The level of a new mapping of `gfn`, for those who collapse page tables. They all pass PG_LEVEL_NUM."""
    if m.sem.drop_max_level_param:
        return __kvm_mmu_max_mapping_level(m, slot, gfn, PG_LEVEL_NUM)
    return __kvm_mmu_max_mapping_level(m, slot, gfn, max_level)


def kvm_mmu_hugepage_adjust(m: Machine, fault: KvmPageFault) -> None:
    """Raise the goal level of a fault. mmu_lock held, stale check passed."""
    slot = fault.slot
    if fault.max_level == PG_LEVEL_4K or slot is None:
        return
    # One bit of the dirty log stands for one 4K page.
    if slot.kvm_slot_dirty_track_enabled():
        return
    fault.req_level = __kvm_mmu_max_mapping_level(m, slot, fault.gfn, fault.max_level)
    if fault.req_level == PG_LEVEL_4K:
        return
    fault.goal_level = fault.req_level
    mask = m.pages_per_hpage(fault.goal_level) - 1
    m.bug_on((fault.gfn & mask) != (fault.pfn & mask), "hugepage_adjust: gfn and pfn are not aligned to each other")
    fault.pfn &= ~mask
