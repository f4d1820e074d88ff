# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_lpage_info: where a slot keeps large pages away, and how often (arch/x86/kvm/x86.c, mmu/mmu.c)."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64

from ..kvm.memslots import KvmMemorySlot
from .machine import Machine
from .spte import PG_LEVEL_1G, PG_LEVEL_2M


def alloc_lpage_info(m: Machine, slot: KvmMemorySlot) -> None:
    """kvm_alloc_memslot_metadata(): a region is no large page if the slot covers it only in part, and none is if gfn
    and hva are not aligned to each other. In a slot with a guest_memfd none is here, so that it does not matter
    whether gfns of one region are private and others shared (hugepage_set_mixed())."""
    slot.disallow_lpage = []
    for level in range(PG_LEVEL_2M, PG_LEVEL_1G + 1):
        pages = m.pages_per_hpage(level)
        first = slot.base_gfn // pages
        regions = (slot.end_gfn() - 1) // pages - first + 1
        info: vec[i64] = vec[i64]([0] * regions)
        if slot.base_gfn % pages != 0:
            info[0] = 1
        if slot.end_gfn() % pages != 0:
            info[regions - 1] = 1
        if (slot.base_gfn ^ slot.hva) & (pages - 1) != 0 or slot.kvm_slot_can_be_private():
            info = vec[i64]([1] * regions)
        slot.disallow_lpage.append(info)


def lpage_disallowed(m: Machine, slot: KvmMemorySlot, gfn: i64, level: i64) -> bool:
    """lpage_info_slot(gfn, slot, level)->disallow_lpage"""
    region = lpage_region(m, slot, gfn, level)
    return region < 0 or slot.disallow_lpage[level - 2][region] != 0


def update_gfn_disallow_lpage_count(m: Machine, slot: KvmMemorySlot, gfn: i64, count: i64) -> None:
    """A write-tracked gfn keeps every large page around it away."""
    for level in range(PG_LEVEL_2M, PG_LEVEL_1G + 1):
        region = lpage_region(m, slot, gfn, level)
        if region >= 0:
            slot.disallow_lpage[level - 2][region] += count


def lpage_region(m: Machine, slot: KvmMemorySlot, gfn: i64, level: i64) -> i64:
    """gfn_to_index(), -1 if that is not in the array: there the kernel would use whatever memory is beside it."""
    region = gfn // m.pages_per_hpage(level) - slot.base_gfn // m.pages_per_hpage(level)
    outside = region < 0 or region >= len(slot.disallow_lpage[level - 2])
    m.bug_on(outside, "KASAN: lpage_info_slot: out of bounds")
    return -1 if outside else region
