# SPDX-License-Identifier: GPL-2.0-only
"""A fault of the guest on MIPS with VZ (kvm_mips_handle_vz_root_tlb_fault(), kvm_mips_map_page() in
arch/mips/kvm/mmu.c). Pages alone are mapped, no huge ones."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import Faultin
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_page_unused,
    kvm_release_pfn_clean,
    kvm_set_pfn_accessed,
    kvm_set_pfn_dirty,
)
from ..kvm.tlb import invalidate
from ..kvm.vcpu import KvmVcpu
from ..observed import PF_EMULATE, PF_FAST, PF_FIXED
from ..points import FAULT_RETRY
from ..stage2.fault import Fault
from ..stage2.faultin import gfn_to_pfn_of_fault, new_faultin
from ..stage2.machine import Stage2Machine
from ..stage2.memory_cache import kvm_mmu_topup_memory_cache
from ..stage2.points import FAULT_GUP, FAULT_LOCK, FAULT_SEQ, FAULT_STALE
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, make_leaf
from ..stage2.table import walk_to
from .fast_fault import kvm_mips_map_page_fast, log_dirtied
from .points import FAULT_MARK, FAULT_PUT


def kvm_mips_handle_vz_root_tlb_fault(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. What cannot be mapped, for whatever reason, is taken for MMIO. SRCU held."""
    outcome = PF_FAST
    fast = yield from kvm_mips_map_page_fast(m, fault)
    if not fast:
        outcome = yield from kvm_mips_map_page(m, vcpu, fault)
    if outcome != PF_EMULATE:
        invalidate(m, vcpu, fault.gfn)  # kvm_vz_host_tlb_inv(): the entry that it faulted on, of this CPU
    return outcome


def kvm_mips_map_page(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """The slow path: look the page up, and again while it is stale. Returns PF_FIXED, or PF_EMULATE for any errno."""
    if kvm_mmu_topup_memory_cache(m, vcpu, m.levels - 1) != 0:
        return PF_EMULATE
    while True:
        yield FAULT_SEQ
        mmu_seq = m.mmu_invalidate_seq
        yield FAULT_GUP
        out = new_faultin(m, fault)
        slot = m.gfn_to_memslot(fault.gfn)
        pfn = yield from gfn_to_pfn_of_fault(m, slot, fault.gfn, fault, out, m.sem.mips_faultin_pfn)
        if is_error_noslot_pfn(pfn):
            return PF_EMULATE
        yield FAULT_LOCK
        m.write_lock()
        if not mmu_invalidate_retry(m, mmu_seq):
            break
        m.write_unlock()
        if m.sem.mips_faultin_pfn:
            kvm_release_page_unused(m, out.page)
        else:
            yield FAULT_STALE
            kvm_release_pfn_clean(m, pfn)
        yield FAULT_RETRY
    sp, index = walk_to(m, fault.gfn, 1)
    rights: i64 = S2_MAY_WRITE if out.writable else 0
    if out.writable and fault.write:
        rights |= S2_WRITE
        log_dirtied(m, fault.gfn, pfn)
    m.store(sp, index, make_leaf(pfn, rights | S2_YOUNG))
    yield from finish_fault(m, pfn, out)
    return PF_FIXED


def finish_fault(m: Stage2Machine, pfn: i64, out: Faultin) -> Generator[int, None, None]:
    """From the entry to the end: marks, mmu_lock, the reference."""
    sem = m.sem
    if sem.mips_faultin_pfn:
        kvm_release_faultin_page(m, out.page, False, out.writable)
    else:
        if sem.mips_dirty_slow_path_only and out.writable:
            kvm_set_pfn_dirty(m, pfn)
        if sem.mips_accessed_before_unlock:
            kvm_release_pfn_clean(m, pfn)
    m.write_unlock()
    if not sem.mips_accessed_before_unlock:
        yield FAULT_PUT
        kvm_release_pfn_clean(m, pfn)
        yield FAULT_MARK
        kvm_set_pfn_accessed(m, pfn)
