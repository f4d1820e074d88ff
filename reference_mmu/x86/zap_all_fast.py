# SPDX-License-Identifier: GPL-2.0-only
"""What the deletion of a memslot zaps (kvm_arch_flush_shadow_memslot() and below: mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from ..kvm.memslots import KvmMemorySlot
from .machine import Machine
from .page_table import KvmMmuPage
from .points import BACK_LOCK, FRONT_FLUSH, FRONT_LOCK, FRONT_REQUEST
from .resched import cond_resched_rwlock_write
from .shadow_mmu.rmap import kvm_rmap_zap_gfn_range
from .shadow_mmu.shadow_page import (
    kvm_mmu_remote_flush_or_zap,
    kvm_zap_obsolete_pages,
    need_resched,
    request_free_obsolete_roots,
    zap_page_or_root,
)
from .shadow_mmu.unsync import valid_sps_with_gptes
from .tdp_mmu.zap import (
    kvm_tdp_mmu_invalidate_all_roots,
    kvm_tdp_mmu_unmap_gfn_range,
    kvm_tdp_mmu_zap_invalidated_roots,
)


def kvm_arch_flush_shadow_memslot(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """Everything goes, unless userspace has disabled KVM_X86_QUIRK_SLOT_ZAP_ALL."""
    if m.config.zap_all_quirk:
        yield from kvm_mmu_zap_all_fast(m)
    else:
        yield from kvm_mmu_zap_memslot(m, slot)


def kvm_mmu_zap_all_fast(m: Machine) -> Generator[int, None, None]:
    """Front half: make every root and shadow page obsolete, get all vCPUs out of the guest and off them. Back half:
    take them apart at leisure."""
    yield FRONT_LOCK
    m.write_lock()
    m.mmu_valid_gen ^= 1
    if m.tdp_mmu_enabled:
        kvm_tdp_mmu_invalidate_all_roots(m)
    yield from request_free_obsolete_roots(m, FRONT_REQUEST)
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
    if m.active_mmu_pages:
        for gfn in range(slot.base_gfn, slot.end_gfn()):
            for sp in valid_sps_with_gptes(m, gfn):
                # One may have been zapped together with another.
                if not sp.invalid:
                    yield from zap_page_or_root(m, sp, invalid_list, FRONT_REQUEST)
            if need_resched(m):
                # What is to be freed is freed before the lock goes: nobody else knows of it.
                yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, flush, FRONT_FLUSH)
                flush = False
                yield from cond_resched_rwlock_write(m)
    yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, flush, FRONT_FLUSH)
