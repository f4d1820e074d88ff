# SPDX-License-Identifier: GPL-2.0-only
"""KVM_GET_DIRTY_LOG of s390 (kvm_vm_ioctl_get_dirty_log() in arch/s390/kvm/kvm-s390.c).

The bitmap is copied first and cleared then, as a whole.  What the guest writes is not lost in between, since it leaves
its trace in the process's page table; what KVM logs for itself, such as an unpinned page, is.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.dirty_log import read_bitmap, return_dirty_log, user_copy
from ..kvm.kvm import Kvm
from ..kvm.memslot_update import id_to_memslot
from ..points import SLOTS_LOCK
from .points import GET_CLEAR


def kvm_vm_ioctl_get_dirty_log(m: Kvm, number: i64) -> Generator[int, None, None]:
    """Report what was written, and begin anew; then userspace copies it."""
    yield SLOTS_LOCK
    m.slots_lock = True
    slot = id_to_memslot(m, number)
    if slot is None or not slot.log_dirty_pages:
        m.slots_lock = False
        return
    m.oracle.harvest_begun(m)
    yield from m.kvm_arch_sync_dirty_log()
    reported = read_bitmap(m, slot)
    if reported:
        yield GET_CLEAR
        for word in range(len(slot.dirty_bitmap)):
            slot.dirty_bitmap[word] = 0
    return_dirty_log(m, slot, reported)
    yield from user_copy(m, slot, reported)
