# SPDX-License-Identifier: GPL-2.0-only
"""Write protection of a gfn and write tracking (page_track.c, kvm_mmu_slot_gfn_write_protect() in mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.flush import kvm_flush_remote_tlbs
from ..kvm.memslots import KvmMemorySlot
from .lpage_info import update_gfn_disallow_lpage_count
from .machine import Machine
from .page_table import KvmMmuPage
from .points import TRACK_FLUSH, TRACK_LOCK, TRACK_PROTECT
from .shadow_mmu.rmap import rmap_write_protect
from .spte import PG_LEVEL_4K, PT_WRITABLE_MASK, is_last_spte, is_shadow_present_pte
from .tdp_mmu.tdp_iter import TdpIter
from .tdp_mmu.tdp_mmu import tdp_mmu_iter_set_spte, tdp_mmu_next_root


def kvm_mmu_slot_gfn_write_protect(
    m: Machine, slot: KvmMemorySlot, gfn: i64, min_level: i64
) -> Generator[int, None, bool]:
    """Clear W and MMU_WRITABLE of whatever maps gfn at min_level or above. mmu_lock held for write. True if an SPTE
    changed: then somebody may still have a writable TLB entry, and the caller must flush."""
    write_protected = False
    if m.kvm_memslots_have_rmaps():
        write_protected = yield from rmap_write_protect(m, gfn, min_level)
    if m.tdp_mmu_enabled:
        root = tdp_mmu_next_root(m, None, True)
        while root is not None:
            changed = yield from write_protect_gfn(m, root, gfn, min_level)
            write_protected = write_protected or changed
            root = tdp_mmu_next_root(m, root, True)
    return write_protected


def write_protect_gfn(m: Machine, root: KvmMmuPage, gfn: i64, min_level: i64) -> Generator[int, None, bool]:
    spte_set = False
    m.rcu_read_lock()
    it = TdpIter(m, root, min_level, gfn, gfn + 1)
    while it.more():
        if not is_shadow_present_pte(it.old_spte) or not is_last_spte(it.old_spte, it.level):
            continue
        new_spte = it.old_spte & ~(PT_WRITABLE_MASK | m.masks.shadow_mmu_writable_mask)
        # Not MMU_WRITABLE proves that no TLB holds a writable entry: nothing to do, nothing to flush.
        if new_spte == it.old_spte:
            break
        yield TRACK_PROTECT
        yield from tdp_mmu_iter_set_spte(m, it, new_spte)
        spte_set = True
    m.rcu_read_unlock()
    return spte_set


def kvm_write_track_add_gfn(m: Machine, gfn: i64) -> Generator[int, None, None]:
    """From now on no vCPU can write the gfn without KVM seeing it. A slot that was deleted or moved meanwhile takes the
    count with it, as the kernel's user is told by track_remove_region()."""
    m.srcu.lock(m.actor)
    slot = m.gfn_to_memslot(gfn)
    if slot is not None:
        yield TRACK_LOCK
    if slot is not None and is_kept(m, slot, gfn):
        m.write_lock()
        m.gfns_tracked_for_device[gfn] = m.gfns_tracked_for_device.get(gfn, 0) + 1
        yield from __kvm_write_track_add_gfn(m, slot, gfn)
        m.write_unlock()
    m.srcu.unlock(m.actor)


def is_kept(m: Machine, slot: KvmMemorySlot, gfn: i64) -> bool:
    """Has the gfn's slot still what it had when it was looked up? New flags, and KVM_MEMSLOT_INVALID, are a new struct
    with the old arrays."""
    now = m.gfn_to_memslot(gfn)
    return now is not None and now.number == slot.number and now.base_gfn == slot.base_gfn


def __kvm_write_track_add_gfn(m: Machine, slot: KvmMemorySlot, gfn: i64) -> Generator[int, None, None]:
    """mmu_lock held for write."""
    m.tracked_gfns[gfn] = m.tracked_gfns.get(gfn, 0) + 1
    update_gfn_disallow_lpage_count(m, slot, gfn, 1)
    write_protected = yield from kvm_mmu_slot_gfn_write_protect(m, slot, gfn, PG_LEVEL_4K)
    if write_protected:
        yield from kvm_flush_remote_tlbs(m, TRACK_FLUSH)
    m.oracle.tracked(m, gfn)


def kvm_write_track_remove_gfn(m: Machine, gfn: i64) -> Generator[int, None, None]:
    """Undo one kvm_write_track_add_gfn(); nothing if none is left."""
    m.srcu.lock(m.actor)
    slot = m.gfn_to_memslot(gfn)
    if slot is not None and gfn in m.gfns_tracked_for_device:
        yield TRACK_LOCK
        m.write_lock()
        if m.gfns_tracked_for_device.get(gfn, 0) <= 1:
            m.gfns_tracked_for_device.pop(gfn, None)
        else:
            m.gfns_tracked_for_device[gfn] -= 1
        __kvm_write_track_remove_gfn(m, slot, gfn)
        m.write_unlock()
    m.srcu.unlock(m.actor)


def __kvm_write_track_remove_gfn(m: Machine, slot: KvmMemorySlot, gfn: i64) -> None:
    """mmu_lock held for write."""
    m.lockdep_assert(m.mmu_lock.held[m.actor] < 0)
    if m.tracked_gfns.get(gfn, 0) <= 1:
        m.tracked_gfns.pop(gfn, None)
        m.oracle.untracked(m, gfn)
    else:
        m.tracked_gfns[gfn] -= 1
    update_gfn_disallow_lpage_count(m, slot, gfn, -1)


def kvm_page_track_free_memslot(m: Machine, slot: KvmMemorySlot) -> None:
    """The counts live in the slot and go with it."""
    for gfn in range(slot.base_gfn, slot.end_gfn()):
        m.gfns_tracked_for_device.pop(gfn, None)
        if m.tracked_gfns.pop(gfn, 0) != 0:
            m.oracle.untracked(m, gfn)
