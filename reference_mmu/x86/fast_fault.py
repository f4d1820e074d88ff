# SPDX-License-Identifier: GPL-2.0-only
"""fast_page_fault(): a fault that only gives back what KVM itself took away needs no lock (mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from .machine import Machine
from .page_fault import KvmPageFault
from .page_table import KvmMmuPage
from .points import FPF_MARK, FPF_READ, FPF_STEP
from .ret_pf import RET_PF_FIXED, RET_PF_INVALID, RET_PF_SPURIOUS
from .spte import (
    PG_LEVEL_4K,
    PT_PRESENT_MASK,
    PT_WRITABLE_MASK,
    is_access_track_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    is_writable_pte,
    restore_acc_track_spte,
    spte_to_pfn,
)
from .vcpu_arch import Vcpu


def page_fault_can_be_fast(m: Machine, fault: KvmPageFault) -> bool:
    """A non-present fault is fast only if it may be due to access tracking, i.e. without A/D bits; a present one
    only if it is a write. Of an attribute that has changed since the exit only the slow way tells userspace."""
    if m.gmem is not None and fault.is_private != m.kvm_mem_is_private(fault.gfn):
        return False
    if not fault.present:
        return not m.masks.kvm_ad_enabled()
    return fault.write


def fast_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """RET_PF_FIXED, RET_PF_SPURIOUS, or RET_PF_INVALID: not fast. Lockless: RCU keeps the page tables (interrupts
    off, in the shadow MMU), the cmpxchg judges what was read."""
    if not page_fault_can_be_fast(m, fault):
        return RET_PF_INVALID
    ret = RET_PF_INVALID
    m.rcu_read_lock()
    for _ in range(5):
        sp = yield from fast_pf_get_last_sp(m, vcpu, fault.gfn)
        if sp is None:
            break
        index = m.spte_index(fault.gfn, sp.level)
        spte = sp.spt[index]
        yield FPF_READ
        if sp.freed:
            m.oracle.walked_freed_table(m, vcpu, sp, fault.gfn)
            break
        # The same fault may have been handled by another vCPU, or the exit been taken on a stale entry.
        if is_access_allowed(m, fault, spte):
            ret = RET_PF_SPURIOUS
            break
        new_spte = fast_pf_new_spte(m, fault, sp, spte)
        if new_spte == spte or not is_access_allowed(m, fault, new_spte):
            break
        if sp.spt[index] == spte:
            yield from fast_pf_fix_direct_spte(m, fault, sp, index, spte, new_spte)
            ret = RET_PF_FIXED
            fault.fast = True
            break
    m.rcu_read_unlock()
    return ret


def fast_pf_get_last_sp(m: Machine, vcpu: Vcpu, gfn: i64) -> Generator[int, None, KvmMmuPage | None]:
    """fast_pf_get_last_sptep() and kvm_tdp_mmu_fast_pf_get_last_sptep(): a lockless walk to the table that holds the
    leaf of gfn; None if there is no MMU-present leaf. What is below an entry that was read may be unlinked by now."""
    root = vcpu.root
    if root is None:
        return None
    sp = root
    while True:
        if sp.freed:
            m.oracle.walked_freed_table(m, vcpu, sp, gfn)
            return None
        spte = sp.spt[m.spte_index(gfn, sp.level)]
        if not is_shadow_present_pte(spte):
            return None
        if is_last_spte(spte, sp.level):
            return sp
        sp = m.page_tables[spte_to_pfn(spte)]
        yield FPF_STEP


def is_access_allowed(m: Machine, fault: KvmPageFault, spte: i64) -> bool:
    if fault.write:
        return is_writable_pte(spte)
    return (spte & PT_PRESENT_MASK) != 0


def fast_pf_new_spte(m: Machine, fault: KvmPageFault, sp: KvmMmuPage, spte: i64) -> i64:
    """The SPTE with what the fault needs put back, as far as that is KVM's to give without a lock."""
    sem = m.sem
    new_spte = spte
    # Without A/D bits an access-tracked SPTE gets R and X back.
    if not m.masks.kvm_ad_enabled() and is_access_track_spte(m.masks, spte):
        if sem.sw_accessed_when_ad_off:
            new_spte = restore_acc_track_spte(m.masks, new_spte) | m.masks.shadow_accessed_mask
        else:
            new_spte = restore_acc_track_spte(m.masks, new_spte)
    # MMU_WRITABLE says that nobody but logging or access tracking objects to W.
    if fault.write and is_mmu_writable_spte(m.masks, spte):
        new_spte |= PT_WRITABLE_MASK
        # A huge page in a logging slot has to be split: one bit stands for one 4K page.
        if sp.level > PG_LEVEL_4K and fault.slot is not None and fault.slot.kvm_slot_dirty_track_enabled():
            return spte
    return new_spte


def fast_pf_fix_direct_spte(
    m: Machine, fault: KvmPageFault, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64
) -> Generator[int, None, None]:
    """The cmpxchg has succeeded: store, then log. Between the two the page is writable and its bit still clear; a
    harvest that falls in between passes the page over, and whatever was written until then is the next one's."""
    sp.spt[index] = new_spte
    m.spte_changed(sp, index, old_spte, new_spte)
    if is_writable_pte(new_spte) and not is_writable_pte(old_spte):
        m.marking.append(fault.gfn)
        yield FPF_MARK
        m.marking.remove(fault.gfn)
        if fault.slot is not None:
            m.mark_page_dirty_in_slot(fault.slot, fault.gfn)
