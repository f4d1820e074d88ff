# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_memory_slot and the lookups on it (include/linux/kvm_host.h, virt/kvm/kvm_main.c).

A slot never changes its flags in place: an update installs a copy and waits for SRCU, so that no fault with the old
flags survives.  The dirty bitmap is shared by the copies, as in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from ..x86.machine import Machine


@mypyc_attr(acyclic=True)
class KvmMemorySlot:
    """gfns [base_gfn, base_gfn + npages) backed by host pages from `hva` on."""

    def __init__(self, number: i64, base_gfn: i64, npages: i64, hva: i64, readonly: bool) -> None:
        self.number = number
        self.base_gfn = base_gfn
        self.npages = npages
        self.hva = hva
        self.readonly = readonly
        self.log_dirty_pages = False  # KVM_MEM_LOG_DIRTY_PAGES
        self.invalid = False  # KVM_MEMSLOT_INVALID
        self.dirty_bitmap: vec[i64] = vec[i64]([])  # words of word_gfns bits; empty: none allocated
        self.disallow_lpage: list[vec[i64]] = []  # lpage_info[level - 2][region].disallow_lpage

    def copy(self) -> KvmMemorySlot:
        """A copy to be changed and installed; bitmap and lpage_info stay shared."""
        slot = KvmMemorySlot(self.number, self.base_gfn, self.npages, self.hva, self.readonly)
        slot.log_dirty_pages = self.log_dirty_pages
        slot.dirty_bitmap = self.dirty_bitmap
        slot.disallow_lpage = self.disallow_lpage
        return slot

    def end_gfn(self) -> i64:
        return self.base_gfn + self.npages

    def contains(self, gfn: i64) -> bool:
        return self.base_gfn <= gfn < self.base_gfn + self.npages

    def kvm_slot_dirty_track_enabled(self) -> bool:
        """kvm_slot_dirty_track_enabled()"""
        return self.log_dirty_pages


@mypyc_attr(acyclic=True)
class KvmGfnRange:
    """struct kvm_gfn_range: gfns [start, end) of a slot."""

    def __init__(self, slot: KvmMemorySlot, start: i64, end: i64) -> None:
        self.slot = slot
        self.start = start
        self.end = end


def alloc_lpage_info(m: Machine, slot: KvmMemorySlot) -> None:
    """kvm_alloc_memslot_metadata(): a region is no large page if the slot covers it only in part, and none is if gfn
    and hva are not aligned to each other."""
    slot.disallow_lpage = []
    for level in range(2, m.max_huge_level + 1):
        pages = m.pages_per_hpage(level)
        first = slot.base_gfn // pages
        regions = (slot.end_gfn() - 1) // pages - first + 1
        info: vec[i64] = vec[i64]([0] * regions)
        if slot.base_gfn % pages != 0:
            info[0] = 1
        if slot.end_gfn() % pages != 0:
            info[regions - 1] = 1
        if (slot.base_gfn ^ slot.hva) & (pages - 1) != 0:
            info = vec[i64]([1] * regions)
        slot.disallow_lpage.append(info)


def lpage_disallowed(m: Machine, slot: KvmMemorySlot, gfn: i64, level: i64) -> bool:
    """lpage_info_slot(gfn, slot, level)->disallow_lpage"""
    region = gfn // m.pages_per_hpage(level) - slot.base_gfn // m.pages_per_hpage(level)
    return slot.disallow_lpage[level - 2][region] != 0


def update_gfn_disallow_lpage_count(m: Machine, slot: KvmMemorySlot, gfn: i64, count: i64) -> None:
    """A write-tracked gfn keeps every large page around it away."""
    for level in range(2, m.max_huge_level + 1):
        region = gfn // m.pages_per_hpage(level) - slot.base_gfn // m.pages_per_hpage(level)
        slot.disallow_lpage[level - 2][region] += count


def assert_memslots_held(m: Machine) -> None:
    """The check of __kvm_memslots()."""
    m.lockdep_assert(m.slots_lock or m.srcu.inside[m.actor] != 0)


def gfn_to_memslot(m: Machine, gfn: i64) -> KvmMemorySlot | None:
    """The slot of `gfn`, None for MMIO. SRCU, or slots_lock, keeps what is found."""
    assert_memslots_held(m)
    return search_memslots(m, gfn)


def search_memslots(m: Machine, gfn: i64) -> KvmMemorySlot | None:
    """The slot of `gfn` in the active set, whoever asks."""
    for slot in m.memslots:
        if slot.contains(gfn):
            return slot
    return None


def memslots_in_hva_range(m: Machine, hva_start: i64, hva_end: i64) -> list[KvmGfnRange]:
    """The gfns that an mmu_notifier range [hva_start, hva_end) touches of each slot: what
    __kvm_handle_hva_range() walks with kvm_for_each_memslot_in_hva_range()."""
    ranges = []
    for slot in m.memslots:
        start = max(hva_start, slot.hva)
        end = min(hva_end, slot.hva + slot.npages)
        if start < end:
            ranges.append(KvmGfnRange(slot, start - slot.hva + slot.base_gfn, end - slot.hva + slot.base_gfn))
    return ranges
