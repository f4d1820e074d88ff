# SPDX-License-Identifier: GPL-2.0-only
"""A fault of the guest on LoongArch (kvm_handle_mm_fault(), kvm_map_page() in arch/loongarch/kvm/mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import Faultin
from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry_gfn
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_page_unused,
    kvm_release_pfn_clean,
    kvm_set_pfn_dirty,
)
from ..kvm.tlb import invalidate
from ..kvm.vcpu import KvmVcpu
from ..observed import PF_EMULATE, PF_FAST, PF_FIXED
from ..points import FAULT_RETRY
from ..stage2.fault import Fault
from ..stage2.faultin import gfn_to_pfn_of_fault, new_faultin
from ..stage2.machine import Stage2Machine
from ..stage2.memory_cache import kvm_mmu_memory_cache_alloc, kvm_mmu_topup_memory_cache
from ..stage2.memslot import memslot_of_fault, supports_huge_mapping
from ..stage2.points import FAULT_GUP, FAULT_LOCK, FAULT_SEQ, FAULT_STALE
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf, make_leaf
from ..stage2.table import find, split, walk_to
from .fast_fault import kvm_map_page_fast
from .points import FAULT_LOG, FAULT_MARK, FAULT_PUT


def kvm_handle_mm_fault(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. What cannot be mapped, for whatever reason, is taken for MMIO. SRCU held."""
    outcome = PF_FAST
    fast = yield from kvm_map_page_fast(m, fault)
    if not fast:
        outcome = yield from kvm_map_page(m, vcpu, fault)
    if outcome != PF_EMULATE:
        invalidate(m, vcpu, fault.gfn)  # kvm_flush_tlb_gpa(): the entry that it faulted on, of this CPU
    return outcome


def kvm_map_page(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """The slow path: look the page up, and again while it is stale. Returns PF_FIXED, or PF_EMULATE for any errno."""
    slot = memslot_of_fault(m, fault)
    if slot is None or kvm_mmu_topup_memory_cache(m, vcpu, m.levels - 1) != 0:
        return PF_EMULATE
    while True:
        yield FAULT_SEQ
        mmu_seq = m.mmu_invalidate_seq
        yield FAULT_GUP
        out = new_faultin(m, fault)
        pfn = yield from gfn_to_pfn_of_fault(m, slot, fault.gfn, fault, out, m.sem.loongarch_faultin_pfn)
        if is_error_noslot_pfn(pfn):
            return PF_EMULATE
        yield FAULT_LOCK
        m.write_lock()
        if not mmu_invalidate_retry_gfn(m, mmu_seq, fault.gfn):
            break
        m.write_unlock()
        if m.sem.loongarch_faultin_pfn:
            kvm_release_page_unused(m, out.page)
        else:
            yield FAULT_STALE
            kvm_release_pfn_clean(m, pfn)
        yield FAULT_RETRY
    level = mapping_level(m, fault, slot)
    gfn = m.gfn_round_for_level(fault.gfn, level)
    pfn = pfn & ~(m.pages_per_hpage(level) - 1)
    set_pte(m, vcpu, fault, level, pfn, out.writable)
    yield from finish_fault(m, slot, gfn, pfn, out, fault.write)
    return PF_FIXED


def mapping_level(m: Stage2Machine, fault: Fault, slot: KvmMemorySlot) -> i64:
    """fault_supports_huge_mapping(), host_pfn_mapping_level(): a write that is logged needs a page of its own, and
    where there is a table already it stays. mmu_lock held, and the page is not stale: the host's page table can be
    trusted."""
    hva = slot.hva + fault.gfn - slot.base_gfn
    if (slot.log_dirty_pages and fault.write) or not supports_huge_mapping(m, slot, hva):
        return 1
    sp, _ = find(m, fault.gfn)
    return i64(1) if sp.level == 1 else m.host.mapping_level(hva)


def set_pte(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault, level: i64, pfn: i64, writable: bool) -> None:
    """Set the entry, young, and dirty for a write. A write to a huge entry that logs splits it. Where a huge entry is
    set this CPU may remember of each small page that there was none (an entry of its TLB that is not valid)."""
    rights: i64 = 0
    if writable:
        rights = S2_MAY_WRITE | S2_WRITE if fault.write else S2_MAY_WRITE
    new = make_leaf(pfn, rights | S2_YOUNG)
    sp, index = walk_to(m, fault.gfn, level)
    old = sp.spt[index]
    if level > 1:
        vcpu.flush()  # KVM_REQ_TLB_FLUSH: before it enters the guest again
    elif sp.level > 1 and is_leaf(old):  # kvm_split_huge()
        kvm_mmu_memory_cache_alloc(m, vcpu)
        sp = split(m, sp, index)
        index = m.spte_index(fault.gfn, 1)
    m.store(sp, index, new)


def finish_fault(
    m: Stage2Machine, slot: KvmMemorySlot, gfn: i64, pfn: i64, out: Faultin, write: bool
) -> Generator[int, None, None]:
    """From the entry to the end: marks, mmu_lock, the log, the reference. Before kvm_faultin_pfn() is used the pfn has
    to do for a page, even one that had been aligned down to a huge page's."""
    sem = m.sem
    dirty = out.writable and write
    if dirty:
        m.unlogged.append(int(gfn))
    if sem.loongarch_faultin_pfn:
        kvm_release_faultin_page(m, out.page, False, out.writable)
    else:
        if sem.loongarch_dirty_slow_path_only and out.writable:
            kvm_set_pfn_dirty(m, pfn)
        if sem.loongarch_accessed_before_unlock:
            kvm_release_pfn_clean(m, pfn)
    m.write_unlock()
    if dirty:
        yield FAULT_LOG
        m.mark_page_dirty_in_slot(slot, gfn)
        m.unlogged.remove(int(gfn))
        if not sem.loongarch_dirty_slow_path_only:
            yield FAULT_MARK
            kvm_set_pfn_dirty(m, pfn)
    if not sem.loongarch_accessed_before_unlock:
        yield FAULT_PUT
        kvm_release_pfn_clean(m, pfn)
