# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_memory_slot and the lookups on it (include/linux/kvm_host.h, virt/kvm/kvm_main.c).

A slot never changes its flags in place: an update installs a copy and waits for SRCU, so that no fault with the old
flags survives.  The dirty bitmap is shared by the copies, as in the kernel.
"""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr


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
        self.freed = False  # by kvm_free_memslot() or kfree(), when SRCU readers of before are gone
        self.dirty_bitmap: vec[i64] = vec[i64]([])  # words of word_gfns bits; empty: none allocated
        self.gmem_pgoff: i64 = -1  # gmem.pgoff; -1: not KVM_MEM_GUEST_MEMFD
        self.disallow_lpage: list[vec[i64]] = []  # lpage_info[level - 2][region].disallow_lpage

    def copy(self) -> KvmMemorySlot:
        """A copy to be changed and installed; bitmap and lpage_info stay shared."""
        slot = KvmMemorySlot(self.number, self.base_gfn, self.npages, self.hva, self.readonly)
        slot.log_dirty_pages = self.log_dirty_pages
        slot.dirty_bitmap = self.dirty_bitmap
        slot.gmem_pgoff = self.gmem_pgoff
        slot.disallow_lpage = self.disallow_lpage
        return slot

    def end_gfn(self) -> i64:
        return self.base_gfn + self.npages

    def contains(self, gfn: i64) -> bool:
        return self.base_gfn <= gfn < self.base_gfn + self.npages

    def kvm_slot_can_be_private(self) -> bool:
        """kvm_slot_can_be_private()"""
        return self.gmem_pgoff >= 0

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


def search_memslots(slots: list[KvmMemorySlot], gfn: i64) -> KvmMemorySlot | None:
    """The slot of `gfn` in a set, whoever asks; Kvm.gfn_to_memslot() is for code of the kernel."""
    for slot in slots:
        if slot.contains(gfn):
            return slot
    return None


def memslots_in_hva_range(slots: list[KvmMemorySlot], hva_start: i64, hva_end: i64) -> list[KvmGfnRange]:
    """The gfns that an mmu_notifier range [hva_start, hva_end) touches of each slot: what
    __kvm_handle_hva_range() walks with kvm_for_each_memslot_in_hva_range()."""
    ranges = []
    for slot in slots:
        start = max(hva_start, slot.hva)
        end = min(hva_end, slot.hva + slot.npages)
        if start < end:
            ranges.append(KvmGfnRange(slot, start - slot.hva + slot.base_gfn, end - slot.hva + slot.base_gfn))
    return ranges


def memslots_in_gfn_range(slots: list[KvmMemorySlot], start: i64, end: i64) -> list[KvmGfnRange]:
    """kvm_for_each_memslot_in_gfn_range(): what gfns [start, end) touch of each slot."""
    return [
        KvmGfnRange(slot, max(start, slot.base_gfn), min(end, slot.end_gfn()))
        for slot in slots
        if start < slot.end_gfn() and slot.base_gfn < end
    ]


def find_slot(slots: list[KvmMemorySlot], number: i64) -> KvmMemorySlot | None:
    """The slot of that number in a set, whoever asks; id_to_memslot() is for ioctls."""
    for slot in slots:
        if slot.number == number:
            return slot
    return None
