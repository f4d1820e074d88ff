# SPDX-License-Identifier: GPL-2.0-only
"""Dirty logging as far as it is x86's: SPTEs and PML (kvm_mmu_slot_apply_flags() in x86.c, mmu.c, tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..bits import bit_ull, highest_bit, lowest_bit
from ..kvm.flush import kvm_flush_remote_tlbs
from ..kvm.memslots import KvmMemorySlot
from .machine import Machine
from .make_spte import kvm_mmu_page_ad_need_write_protect
from .page_table import KvmMmuPage
from .points import (
    COLLAPSE_LOCK_R,
    COLLAPSE_LOCK_W,
    GET_KICK,
    GET_PROTECT,
    ITER_RELOCK_R,
    LOG_CLEAR,
    LOG_CLEAR_LOCK_R,
    LOG_CLEAR_LOCK_W,
    LOG_ENABLE_FLUSH,
    LOG_PROTECT,
    LOG_PROTECT_LOCK_R,
    LOG_PROTECT_LOCK_W,
    PML_REQUEST,
)
from .shadow_mmu.rmap import (
    kvm_mmu_clear_dirty_pt_masked,
    kvm_mmu_write_protect_pt_masked,
    kvm_rmap_zap_collapsible_sptes,
    rmap_clear_dirty_slot,
    rmap_write_protect_slot,
)
from .spte import PG_LEVEL_2M, PG_LEVEL_4K, PT_WRITABLE_MASK, is_last_spte, is_shadow_present_pte, is_writable_pte
from .struct_page import mark_harvested
from .tdp_mmu.eager_split import kvm_mmu_slot_try_split_huge_pages, kvm_mmu_try_split_huge_pages
from .tdp_mmu.tdp_iter import TdpIter
from .tdp_mmu.tdp_mmu import (
    tdp_mmu_clear_spte_bits,
    tdp_mmu_iter_cond_resched,
    tdp_mmu_next_root,
    tdp_mmu_set_spte_atomic,
)
from .tdp_mmu.zap import kvm_tdp_mmu_zap_collapsible_sptes
from .write_protect import kvm_mmu_slot_gfn_write_protect


def kvm_mmu_slot_apply_flags(
    m: Machine, old: KvmMemorySlot | None, new: KvmMemorySlot | None
) -> Generator[int, None, None]:
    """Only a slot whose flags alone have changed needs more than PML switched."""
    yield from kvm_mmu_update_cpu_dirty_logging(m, old, new)
    if old is None or new is None or old.log_dirty_pages == new.log_dirty_pages:
        return
    if new.log_dirty_pages:
        yield from kvm_mmu_slot_enable_log_dirty(m, new)
    else:
        yield from kvm_mmu_zap_collapsible_sptes(m, new)


def kvm_mmu_update_cpu_dirty_logging(
    m: Machine, old: KvmMemorySlot | None, new: KvmMemorySlot | None
) -> Generator[int, None, None]:
    """Count the slots that log; the first and the last one have every vCPU switch PML before it enters the guest, by
    the count as it is then. The request waits until all are out of the guest, or have answered."""
    logged = old is not None and old.log_dirty_pages
    logs = new is not None and new.log_dirty_pages
    if logged == logs:
        return
    m.nr_memslots_dirty_logging += 1 if logs else -1
    if m.enable_pml and m.nr_memslots_dirty_logging == (1 if logs else 0):
        for vcpu in m.x86_vcpus:
            vcpu.update_cpu_dirty_logging = True
        yield PML_REQUEST
        m.kick_all()


def kvm_mmu_slot_enable_log_dirty(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """The slot logs from now on: make every write to it visible."""
    if m.manual_dirty_log_protect and m.dirty_log_initially_set:
        return
    if m.eager_page_split and m.tdp_mmu_enabled:
        yield from kvm_mmu_slot_try_split_huge_pages(m, slot)
    if m.enable_pml:
        yield from kvm_mmu_slot_leaf_clear_dirty(m, slot)
        yield from kvm_mmu_slot_remove_write_access(m, slot, PG_LEVEL_2M)
    else:
        yield from kvm_mmu_slot_remove_write_access(m, slot, PG_LEVEL_4K)
    # Unconditional, and outside mmu_lock: an SPTE may have lost W or D earlier, without a flush.
    yield from kvm_flush_remote_tlbs(m, LOG_ENABLE_FLUSH)


def kvm_mmu_slot_leaf_clear_dirty(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    if m.kvm_memslots_have_rmaps():
        yield LOG_CLEAR_LOCK_W
        m.write_lock()
        yield from rmap_clear_dirty_slot(m, slot)
        m.write_unlock()
    if m.tdp_mmu_enabled:
        yield LOG_CLEAR_LOCK_R
        m.read_lock()
        yield from kvm_tdp_mmu_clear_dirty_slot(m, slot)
        m.read_unlock()


def kvm_tdp_mmu_clear_dirty_slot(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, bool]:
    """Returns whether any SPTE changed; the one caller ignores it, and drop-clear-dirty-slot-ret drops it."""
    spte_set = False
    root = tdp_mmu_next_root(m, None, True)
    while root is not None:
        changed = yield from clear_dirty_gfn_range(m, root, slot.base_gfn, slot.end_gfn())
        if not m.sem.drop_clear_dirty_slot_ret:
            spte_set = spte_set or changed
        root = tdp_mmu_next_root(m, root, True)
    return spte_set


def tdp_mmu_need_write_protect(m: Machine, sp: KvmMmuPage) -> bool:
    """Must dirty logging use W in this root? Judged by role, not by SPTE: all SPTEs of a root are of one type."""
    return kvm_mmu_page_ad_need_write_protect(m, sp) or not m.masks.kvm_ad_enabled()


def clear_dirty_gfn_range(m: Machine, root: KvmMmuPage, start: i64, end: i64) -> Generator[int, None, bool]:
    """Clear D, or W where D is not logged, in every leaf of the range. mmu_lock held for read."""
    dbit = PT_WRITABLE_MASK if tdp_mmu_need_write_protect(m, root) else m.masks.shadow_dirty_mask
    changed = False
    m.rcu_read_lock()
    it = TdpIter(m, root, PG_LEVEL_4K, start, end)
    while it.more():
        if not is_shadow_present_pte(it.old_spte) or not is_last_spte(it.old_spte, it.level):
            continue
        yielded = yield from tdp_mmu_iter_cond_resched(m, it, False, ITER_RELOCK_R, ITER_RELOCK_R)
        if yielded:
            continue
        if (it.old_spte & dbit) == 0:
            continue
        yield LOG_CLEAR
        stored = yield from tdp_mmu_set_spte_atomic(m, it, it.old_spte & ~dbit)
        if stored:
            changed = True
        else:
            it.retry()
    m.rcu_read_unlock()
    return changed


def kvm_mmu_slot_remove_write_access(m: Machine, slot: KvmMemorySlot, min_level: i64) -> Generator[int, None, None]:
    if m.kvm_memslots_have_rmaps():
        yield LOG_PROTECT_LOCK_W
        m.write_lock()
        yield from rmap_write_protect_slot(m, slot, min_level)
        m.write_unlock()
    if m.tdp_mmu_enabled:
        yield LOG_PROTECT_LOCK_R
        m.read_lock()
        root = tdp_mmu_next_root(m, None, True)
        while root is not None:
            yield from wrprot_gfn_range(m, root, slot.base_gfn, slot.end_gfn(), min_level)
            root = tdp_mmu_next_root(m, root, True)
        m.read_unlock()


def wrprot_gfn_range(m: Machine, root: KvmMmuPage, start: i64, end: i64, min_level: i64) -> Generator[int, None, None]:
    """Clear W, keep MMU_WRITABLE: whoever writes next gets W back from fast_page_fault(). mmu_lock held for read."""
    m.rcu_read_lock()
    it = TdpIter(m, root, min_level, start, end)
    while it.more():
        yielded = yield from tdp_mmu_iter_cond_resched(m, it, False, ITER_RELOCK_R, ITER_RELOCK_R)
        if yielded:
            continue
        if (
            not is_shadow_present_pte(it.old_spte)
            or not is_last_spte(it.old_spte, it.level)
            or not is_writable_pte(it.old_spte)
        ):
            continue
        yield LOG_PROTECT
        stored = yield from tdp_mmu_set_spte_atomic(m, it, it.old_spte & ~PT_WRITABLE_MASK)
        if not stored:
            it.retry()
    m.rcu_read_unlock()


def kvm_arch_sync_dirty_log(m: Machine) -> Generator[int, None, None]:
    """kvm_arch_sync_dirty_log(): kick every vCPU, without waiting, so that its PML buffer gets drained. What is
    logged after the kick stays in flight until the next exit."""
    if m.enable_pml:
        yield GET_KICK
        m.kick_all()


def kvm_arch_mmu_enable_log_dirty_pt_masked(
    m: Machine, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
) -> Generator[int, None, None]:
    """Make writes to the masked gfns visible again. mmu_lock held for write.

    Huge pages exist in a logging slot only if it started INITIALLY_SET: their leaves are split, or lose W and
    MMU_WRITABLE, so that the next write fault maps 4K pages.
    """
    if m.dirty_log_initially_set and m.manual_dirty_log_protect:
        first = slot.base_gfn + gfn_offset + lowest_bit(mask)
        last = slot.base_gfn + gfn_offset + highest_bit(mask)
        if m.eager_page_split and m.tdp_mmu_enabled:
            yield from kvm_mmu_try_split_huge_pages(m, slot, first, last + 1)
        m.harvest_protects_huge = True
        yield from kvm_mmu_slot_gfn_write_protect(m, slot, first, PG_LEVEL_2M)
        if align_up(first, m.pages_per_hpage(PG_LEVEL_2M)) != align_up(last, m.pages_per_hpage(PG_LEVEL_2M)):
            yield from kvm_mmu_slot_gfn_write_protect(m, slot, last, PG_LEVEL_2M)
        m.harvest_protects_huge = False
    if m.enable_pml:
        if m.kvm_memslots_have_rmaps():
            yield from kvm_mmu_clear_dirty_pt_masked(m, slot, gfn_offset, mask)
    elif m.kvm_memslots_have_rmaps():
        yield from kvm_mmu_write_protect_pt_masked(m, slot, gfn_offset, mask)
    if m.tdp_mmu_enabled:
        root = tdp_mmu_next_root(m, None, True)
        while root is not None:
            yield from clear_dirty_pt_masked(m, root, slot.base_gfn + gfn_offset, mask, not m.enable_pml)
            root = tdp_mmu_next_root(m, root, True)


def align_up(gfn: i64, pages: i64) -> i64:
    return (gfn + pages - 1) & ~(pages - 1)


def clear_dirty_pt_masked(
    m: Machine, root: KvmMmuPage, gfn: i64, mask: i64, wrprot: bool
) -> Generator[int, None, None]:
    """Clear W (wrprot, or no usable D) or D of the 4K leaves gfn + n, n in mask. mmu_lock held for write."""
    clear_w = wrprot or tdp_mmu_need_write_protect(m, root)
    dbit = PT_WRITABLE_MASK if clear_w else m.masks.shadow_dirty_mask
    m.rcu_read_lock()
    first = gfn + lowest_bit(mask)
    it = TdpIter(m, root, PG_LEVEL_4K, first, gfn + m.word_gfns)
    while it.more():
        if mask == 0:
            break
        if not is_shadow_present_pte(it.old_spte) or not is_last_spte(it.old_spte, it.level):
            continue
        if it.level > PG_LEVEL_4K or (mask >> (it.gfn - gfn)) & 1 == 0:
            continue
        mask &= ~bit_ull(it.gfn - gfn)
        if (it.old_spte & dbit) == 0:
            continue
        yield GET_PROTECT
        it.old_spte = tdp_mmu_clear_spte_bits(m, it, dbit)
        mark_harvested(m, it.old_spte)
    m.rcu_read_unlock()


def kvm_mmu_zap_collapsible_sptes(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    if m.kvm_memslots_have_rmaps():
        yield COLLAPSE_LOCK_W
        m.write_lock()
        yield from kvm_rmap_zap_collapsible_sptes(m, slot)
        m.write_unlock()
    if m.tdp_mmu_enabled:
        yield COLLAPSE_LOCK_R
        m.read_lock()
        yield from kvm_tdp_mmu_zap_collapsible_sptes(m, slot)
        m.read_unlock()
