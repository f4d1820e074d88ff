# SPDX-License-Identifier: GPL-2.0-only
"""KVM_SET_USER_MEMORY_REGION: delete, move and create slots (virt/kvm/kvm_main.c).

kvm_delete_memslot(), kvm_move_memslot() and kvm_create_memslot() are the whole ioctl here, kvm_set_memslot() with that
change included; in the kernel those are its last step. kvm_swap_active_memslots() installs the slot as well, which
kvm_replace_memslot() has done there.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import SLOTS_LOCK, SLOTS_PREPARE, SLOTS_SRCU, SLOTS_SRCU_END, SLOTS_SWAP
from .guest_memfd import kvm_gmem_bind, kvm_gmem_unbind
from .kvm import Kvm
from .memslots import KvmMemorySlot, find_slot


def id_to_memslot(kvm: Kvm, number: i64) -> KvmMemorySlot | None:
    """find_slot() for an ioctl, which goes on to change the slot or its bitmap. kvm_arch_flush_remote_tlbs_memslot()
    has the reason: slots_lock makes the next ioctl see the flush of this one."""
    kvm.lockdep_assert(kvm.slots_lock)
    return find_slot(kvm.memslots, number)


def replace_slot(kvm: Kvm, number: i64, slot: KvmMemorySlot | None) -> None:
    """Install the other copy of the memslots; faults in flight keep the one they have."""
    memslots = [other for other in kvm.memslots if other.number != number]
    if slot is not None:
        memslots.append(slot)
    kvm.memslots = memslots


def kvm_delete_memslot(kvm: Kvm, number: i64) -> Generator[int, None, None]:
    """Delete a slot; nothing if it does not exist."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    slot = id_to_memslot(kvm, number)
    if slot is not None:
        invalid = yield from kvm_invalidate_memslot(kvm, slot)
        yield from kvm_swap_active_memslots(kvm, number, None)
        kvm.oracle.slot_removed(kvm, slot)
        yield from kvm.kvm_arch_commit_memory_region(slot, None)
        if slot.kvm_slot_can_be_private():
            yield from kvm_gmem_unbind(kvm, slot)
        slot.freed = invalid.freed = True
    kvm.slots_lock = False


def kvm_move_memslot(kvm: Kvm, number: i64, base_gfn: i64) -> Generator[int, None, None]:
    """Move a slot to another gfn: invalidate the old place, then install the new one. One with a guest_memfd can only
    be deleted."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    slot = id_to_memslot(kvm, number)
    if slot is not None and can_move(kvm, slot, base_gfn):
        invalid = yield from kvm_invalidate_memslot(kvm, slot)
        moved = slot.copy()
        moved.base_gfn = base_gfn
        kvm.kvm_arch_prepare_memory_region(moved)
        yield from kvm_swap_active_memslots(kvm, number, moved)
        slot.freed = invalid.freed = True
    kvm.slots_lock = False


def can_move(kvm: Kvm, slot: KvmMemorySlot, base_gfn: i64) -> bool:
    if slot.kvm_slot_can_be_private() or slot.base_gfn == base_gfn:
        return False
    return not overlaps(kvm, slot.number, base_gfn, slot.npages)


def kvm_create_memslot(kvm: Kvm, number: i64) -> Generator[int, None, None]:
    """Create the configuration's slot `number` (again, after a deletion); nothing if it exists or would overlap."""
    c = kvm.config.slots[number]
    yield SLOTS_LOCK
    kvm.slots_lock = True
    if id_to_memslot(kvm, number) is None and not overlaps(kvm, number, c.base, c.npages):
        slot = kvm.new_memslot(number, c)
        if slot.kvm_slot_can_be_private():
            yield from kvm_gmem_bind(kvm, slot)
        yield from kvm_swap_active_memslots(kvm, number, slot)
    kvm.slots_lock = False


def overlaps(kvm: Kvm, number: i64, base_gfn: i64, npages: i64) -> bool:
    if base_gfn + npages > kvm.pages_per_hpage(kvm.levels + 1):
        return True
    return any(s.number != number and base_gfn < s.end_gfn() and s.base_gfn < base_gfn + npages for s in kvm.memslots)


def kvm_swap_active_memslots(kvm: Kvm, number: i64, slot: KvmMemorySlot | None) -> Generator[int, None, None]:
    """The swap waits until no notifier is between start and end, so that both ends see the same slots; then SRCU.

    What the architecture kept in the old slot is freed after the grace period. Here it is kept by gfn, so it goes when
    nobody finds the slot any more: the new one begins without.
    """
    yield SLOTS_SWAP
    old = id_to_memslot(kvm, number)
    replace_slot(kvm, number, slot)
    if old is not None:
        kvm.kvm_arch_free_memslot(old)
    kvm.synchronize_srcu()
    yield SLOTS_SRCU_END


def kvm_invalidate_memslot(kvm: Kvm, slot: KvmMemorySlot) -> Generator[int, None, KvmMemorySlot]:
    """Put a copy that is INVALID in place of the slot, so that no fault maps it again, then zap what is mapped. The
    copy."""
    invalid = slot.copy()
    invalid.invalid = True
    yield SLOTS_PREPARE
    replace_slot(kvm, slot.number, invalid)
    kvm.synchronize_srcu()
    yield SLOTS_SRCU
    yield from kvm.kvm_arch_flush_shadow_memslot(slot)
    kvm.oracle.slot_zapped(kvm, slot)
    return invalid
