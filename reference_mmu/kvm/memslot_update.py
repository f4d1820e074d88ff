# SPDX-License-Identifier: GPL-2.0-only
"""KVM_SET_USER_MEMORY_REGION: delete, move and create slots (virt/kvm/kvm_main.c, kvm_mmu_zap_all_fast() in mmu.c)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mypy_extensions import i64

from ..x86.page_table import KvmMmuPage
from ..x86.points import (
    BACK_LOCK,
    FRONT_FLUSH,
    FRONT_LOCK,
    FRONT_REQUEST,
    PML_REQUEST,
    SLOTS_LOCK,
    SLOTS_PREPARE,
    SLOTS_SRCU,
    SLOTS_SRCU_END,
    SLOTS_SWAP,
)
from ..x86.shadow_mmu.rmap import kvm_rmap_zap_gfn_range
from ..x86.shadow_mmu.shadow_page import kvm_mmu_prepare_zap_page, kvm_mmu_remote_flush_or_zap, kvm_zap_obsolete_pages
from ..x86.shadow_mmu.unsync import valid_sps_with_gptes
from ..x86.tdp_mmu.zap import (
    kvm_tdp_mmu_invalidate_all_roots,
    kvm_tdp_mmu_unmap_gfn_range,
    kvm_tdp_mmu_zap_invalidated_roots,
)
from .memslots import KvmMemorySlot, alloc_lpage_info

if TYPE_CHECKING:
    from ..x86.machine import Machine


def find_slot(m: Machine, number: i64) -> KvmMemorySlot | None:
    for slot in m.memslots:
        if slot.number == number:
            return slot
    return None


def id_to_memslot(m: Machine, number: i64) -> KvmMemorySlot | None:
    """find_slot() for an ioctl, which goes on to change the slot or its bitmap. kvm_arch_flush_remote_tlbs_memslot()
    has the reason: slots_lock makes the next ioctl see the flush of this one."""
    m.lockdep_assert(m.slots_lock)
    return find_slot(m, number)


def replace_slot(m: Machine, number: i64, slot: KvmMemorySlot | None) -> None:
    """Install the other copy of the memslots; faults in flight keep the one they have."""
    memslots = [other for other in m.memslots if other.number != number]
    if slot is not None:
        memslots.append(slot)
    m.memslots = memslots


def kvm_delete_memslot(m: Machine, number: i64) -> Generator[int, None, None]:
    """Delete a slot; nothing if it does not exist."""
    yield SLOTS_LOCK
    m.slots_lock = True
    slot = id_to_memslot(m, number)
    if slot is not None:
        yield from kvm_invalidate_memslot(m, slot)
        yield from kvm_swap_active_memslots(m, number, None)
        drop_write_tracking(m, slot)
        m.oracle.slot_removed(m, slot)
        yield from kvm_mmu_update_cpu_dirty_logging(m, slot, None)
    m.slots_lock = False


def kvm_move_memslot(m: Machine, number: i64, base_gfn: i64) -> Generator[int, None, None]:
    """Move a slot to another gfn: invalidate the old place, then install the new one."""
    yield SLOTS_LOCK
    m.slots_lock = True
    slot = id_to_memslot(m, number)
    if slot is not None and slot.base_gfn != base_gfn and not overlaps(m, number, base_gfn, slot.npages):
        yield from kvm_invalidate_memslot(m, slot)
        moved = slot.copy()
        moved.base_gfn = base_gfn
        alloc_lpage_info(m, moved)
        drop_write_tracking(m, slot)
        yield from kvm_swap_active_memslots(m, number, moved)
    m.slots_lock = False


def kvm_create_memslot(m: Machine, number: i64) -> Generator[int, None, None]:
    """Create the configuration's slot `number` (again, after a deletion); nothing if it exists or would overlap."""
    c = m.config.slots[number]
    yield SLOTS_LOCK
    m.slots_lock = True
    if id_to_memslot(m, number) is None and not overlaps(m, number, c.base, c.npages):
        slot = KvmMemorySlot(number, c.base, c.npages, c.hva, c.readonly)
        alloc_lpage_info(m, slot)
        yield from kvm_swap_active_memslots(m, number, slot)
    m.slots_lock = False


def drop_write_tracking(m: Machine, slot: KvmMemorySlot) -> None:
    """kvm_page_track_free_memslot(): the counts live in the slot and go with it."""
    for gfn in range(slot.base_gfn, slot.end_gfn()):
        m.gfns_tracked_for_device.pop(gfn, None)
        if m.tracked_gfns.pop(gfn, 0) != 0:
            m.oracle.untracked(m, gfn)


def overlaps(m: Machine, number: i64, base_gfn: i64, npages: i64) -> bool:
    if base_gfn + npages > m.pages_per_hpage(m.levels + 1):
        return True
    return any(s.number != number and base_gfn < s.end_gfn() and s.base_gfn < base_gfn + npages for s in m.memslots)


def kvm_swap_active_memslots(m: Machine, number: i64, slot: KvmMemorySlot | None) -> Generator[int, None, None]:
    """The swap waits until no notifier is between start and end, so that both ends see the same slots; then SRCU."""
    yield SLOTS_SWAP
    replace_slot(m, number, slot)
    m.synchronize_srcu()
    yield SLOTS_SRCU_END


def kvm_invalidate_memslot(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """Mark the slot INVALID, so that no fault maps it again, then zap what is mapped."""
    invalid = slot.copy()
    invalid.invalid = True
    yield SLOTS_PREPARE
    replace_slot(m, slot.number, invalid)
    m.synchronize_srcu()
    yield SLOTS_SRCU
    if m.config.zap_all_quirk:
        yield from kvm_mmu_zap_all_fast(m)
    else:
        yield from kvm_mmu_zap_memslot(m, slot)
    m.oracle.slot_zapped(m, slot)


def kvm_mmu_zap_all_fast(m: Machine) -> Generator[int, None, None]:
    """Front half: make every root and shadow page obsolete, get all vCPUs out of the guest and off them. Back half:
    take them apart at leisure."""
    yield FRONT_LOCK
    m.write_lock()
    m.mmu_valid_gen ^= 1
    if m.tdp_mmu_enabled:
        kvm_tdp_mmu_invalidate_all_roots(m)
    for vcpu in m.vcpus:
        vcpu.free_obsolete_roots = True
    yield FRONT_REQUEST
    m.kick_all()
    if m.kvm_memslots_have_rmaps():
        yield from kvm_zap_obsolete_pages(m)
    m.write_unlock()
    if m.tdp_mmu_enabled:
        yield BACK_LOCK
        m.read_lock()
        yield from kvm_tdp_mmu_zap_invalidated_roots(m)
        m.read_unlock()


def kvm_mmu_zap_memslot(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """KVM_X86_QUIRK_SLOT_ZAP_ALL disabled: zap only the slot's leaves, the roots stay valid."""
    yield FRONT_LOCK
    m.write_lock()
    flush = False
    if m.kvm_memslots_have_rmaps():
        flush = yield from kvm_rmap_zap_gfn_range(m, slot.base_gfn, slot.end_gfn(), flush)
    if m.tdp_mmu_enabled:
        flush = yield from kvm_tdp_mmu_unmap_gfn_range(m, slot.base_gfn, slot.end_gfn(), True, flush)
    yield from kvm_mmu_zap_memslot_pages_and_flush(m, slot, flush)
    m.write_unlock()


def kvm_mmu_zap_memslot_pages_and_flush(m: Machine, slot: KvmMemorySlot, flush: bool) -> Generator[int, None, None]:
    """Shadow pages of guest tables in the slot go, too: their accounting lives in it."""
    invalid_list: list[KvmMmuPage] = []
    for gfn in range(slot.base_gfn, slot.end_gfn()):
        for sp in valid_sps_with_gptes(m, gfn):
            # One may have been zapped together with another.
            if not sp.invalid:
                kvm_mmu_prepare_zap_page(m, sp, invalid_list)
    yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, flush, FRONT_FLUSH)


def kvm_mmu_update_cpu_dirty_logging(
    m: Machine, old: KvmMemorySlot | None, new: KvmMemorySlot | None
) -> Generator[int, None, None]:
    """Count the slots that log; the first and the last one switch PML, by a request that waits for every vCPU."""
    logged = old is not None and old.log_dirty_pages
    logs = new is not None and new.log_dirty_pages
    if logged == logs:
        return
    m.nr_memslots_dirty_logging += 1 if logs else -1
    enable = m.nr_memslots_dirty_logging > 0
    if m.enable_pml and m.nr_memslots_dirty_logging == (1 if logs else 0):
        yield PML_REQUEST
        m.kick_all()
        for vcpu in m.vcpus:
            vcpu.pml_enabled = enable
