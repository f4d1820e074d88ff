# SPDX-License-Identifier: GPL-2.0-only
"""KVM_SET_MEMORY_ATTRIBUTES: gfns become private, or shared (virt/kvm/kvm_main.c).

Both halves of a memslot exist all the time, what the process has mapped and what the guest_memfd holds; the attribute
says which of them a gfn is backed by.  A change is an invalidation: what is mapped goes first, and a fault that has
looked a page up before is stale.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import ATTR_END_LOCK, ATTR_FLUSH, ATTR_LOCK, ATTR_STORE, SLOTS_LOCK
from .flush import kvm_flush_remote_tlbs
from .kvm import Kvm
from .memslots import memslots_in_gfn_range
from .mmu_notifier import kvm_mmu_invalidate_begin, kvm_mmu_invalidate_end, kvm_mmu_invalidate_range_add


def kvm_vm_set_mem_attributes(kvm: Kvm, start: i64, end: i64, private: bool) -> Generator[int, None, None]:
    """kvm_vm_set_mem_attributes() for gfns [start, end); nothing if all of them are so already."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    if not have_attribute(kvm, start, end, private):
        found = yield from pre_set_memory_attributes(kvm, start, end)
        yield ATTR_STORE
        for gfn in range(start, end):
            if private:
                kvm.mem_attr_array[gfn] = True
            else:
                kvm.mem_attr_array.pop(gfn, None)
        if found:
            yield ATTR_END_LOCK
            kvm.write_lock()
            kvm_mmu_invalidate_end(kvm)
            kvm.write_unlock()
    kvm.slots_lock = False


def have_attribute(kvm: Kvm, start: i64, end: i64, private: bool) -> bool:
    """kvm_range_has_memory_attributes()"""
    return all(kvm.kvm_mem_is_private(gfn) == private for gfn in range(start, end))


def pre_set_memory_attributes(kvm: Kvm, start: i64, end: i64) -> Generator[int, None, bool]:
    """kvm_handle_gfn_range() with kvm_pre_set_memory_attributes(): zap the range in every memslot, and begin an
    invalidation. False: there is none, and mmu_lock was not taken."""
    ranges = memslots_in_gfn_range(kvm.memslots, start, end)
    if not ranges:
        return False
    yield ATTR_LOCK
    kvm.write_lock()
    kvm_mmu_invalidate_begin(kvm)
    flush = False
    for gfn_range in ranges:
        kvm_mmu_invalidate_range_add(kvm, gfn_range.start, gfn_range.end)
        zapped = yield from kvm.kvm_arch_pre_set_memory_attributes(gfn_range)
        flush = flush or zapped
    if flush:
        yield from kvm_flush_remote_tlbs(kvm, ATTR_FLUSH)
    kvm.write_unlock()
    return True
