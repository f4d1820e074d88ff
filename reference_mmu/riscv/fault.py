# SPDX-License-Identifier: GPL-2.0-only
"""The guest page fault of RISC-V (gstage_page_fault() in arch/riscv/kvm/vcpu_exit.c, kvm_riscv_gstage_map() in mmu.c).

A leaf that is only old faults as one that is absent does, where hardware leaves the A bit to software: there is no fast
path.  Huge leaves are those of hugetlbfs.  Left out: that memory which is mapped by pfn is mapped when its slot is made
(kvm_riscv_gstage_ioremap()), and mmap_lock, under which the kernel looks at the VMA.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_pfn_clean,
    kvm_release_pfn_dirty,
    kvm_set_pfn_accessed,
    kvm_set_pfn_dirty,
)
from ..kvm.vcpu import KvmVcpu
from ..mm.errno import EEXIST
from ..observed import PF_EMULATE, PF_ERROR, PF_FIXED, PF_RETRY
from ..stage2.fault import Fault
from ..stage2.faultin import gfn_to_pfn_of_fault, new_faultin
from ..stage2.machine import Stage2Machine
from ..stage2.memory_cache import kvm_mmu_topup_memory_cache
from ..stage2.memslot import memslot_is_logging, memslot_of_fault, supports_huge_mapping
from ..stage2.points import FAULT_GUP, FAULT_LOCK, FAULT_SEQ
from ..stage2.pte import S2_DIRTY, S2_MAY_WRITE, S2_WRITE, S2_YOUNG, make_leaf
from .gstage import gstage_set_pte
from .points import FAULT_MARK, FAULT_PUT


def gstage_page_fault(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. SRCU held."""
    slot = memslot_of_fault(m, fault)
    if slot is None:
        return PF_EMULATE
    return (yield from kvm_riscv_gstage_map(m, vcpu, fault, slot))


def kvm_riscv_gstage_map(
    m: Stage2Machine, vcpu: KvmVcpu, fault: Fault, slot: KvmMemorySlot
) -> Generator[int, None, i64]:
    """Map the page. Returns PF_*: to the kernel a page that is possibly gone is no error, its 0 is PF_RETRY here; and
    every errno ends in userspace, -EEXIST included."""
    if kvm_mmu_topup_memory_cache(m, vcpu, m.levels) != 0:
        return PF_ERROR
    yield FAULT_SEQ
    level = vma_pagesize(m, fault, slot)
    gfn = m.gfn_round_for_level(fault.gfn, level)
    mmu_seq = m.mmu_invalidate_seq
    yield FAULT_GUP
    out = new_faultin(m, fault)
    hfn = yield from gfn_to_pfn_of_fault(m, slot, gfn, fault, out, m.sem.riscv_faultin_pfn)
    # Of a poisoned page the process is sent SIGBUS, which ends the access as -EFAULT does.
    if is_error_noslot_pfn(hfn):
        return PF_ERROR
    writable = out.writable and (fault.write or not memslot_is_logging(slot))
    yield FAULT_LOCK
    m.write_lock()
    stale = mmu_invalidate_retry(m, mmu_seq)
    ret: i64 = 0
    if not stale:
        ret = yield from map_logged(m, vcpu, slot, gfn, level, hfn, writable)
    yield from out_unlock(m, hfn, out.page, writable, ret)
    if stale:
        return PF_RETRY
    return PF_FIXED if ret == 0 else PF_ERROR


def vma_pagesize(m: Stage2Machine, fault: Fault, slot: KvmMemorySlot) -> i64:
    """The level of a page of hugetlbfs, unless writes are logged. The kernel does not ask whether slot and memory are
    aligned alike; hardware refuses a huge leaf if they are not, so here such a slot is mapped page by page."""
    hva = slot.hva + fault.gfn - slot.base_gfn
    if memslot_is_logging(slot) or m.host.backing[hva // m.host.block] != "hugetlb":
        return 1
    return m.host.mapping_level(hva) if supports_huge_mapping(m, slot, hva) else i64(1)


def map_logged(
    m: Stage2Machine, vcpu: KvmVcpu, slot: KvmMemorySlot, gfn: i64, level: i64, hfn: i64, writable: bool
) -> Generator[int, None, i64]:
    """The page is not stale: log it, if it will be writable, and map it (gstage_map_page()). A and D are always set:
    hardware need not."""
    rights: i64 = 0
    if writable:
        rights = S2_WRITE | S2_MAY_WRITE
        if not m.sem.riscv_dirty_iff_pte_installed:
            kvm_set_pfn_dirty(m, hfn)
        m.mark_page_dirty_in_slot(slot, gfn)
    return (yield from gstage_set_pte(m, vcpu, level, gfn, make_leaf(hfn, rights | S2_YOUNG | S2_DIRTY)))


def out_unlock(m: Stage2Machine, hfn: i64, page: i64, writable: bool, ret: i64) -> Generator[int, None, None]:
    """The marks, mmu_lock, the reference. An attempt that was stale comes by, too, with ret == 0: it counts as one that
    has mapped its page."""
    sem = m.sem
    mapped = ret in (0, -EEXIST)
    if sem.riscv_faultin_pfn:
        kvm_release_faultin_page(m, page, not mapped, writable)
    elif sem.riscv_accessed_before_unlock:
        if mapped and writable:
            kvm_release_pfn_dirty(m, hfn)
        else:
            kvm_release_pfn_clean(m, hfn)
    elif sem.riscv_dirty_iff_pte_installed and mapped and writable:
        kvm_set_pfn_dirty(m, hfn)
    m.write_unlock()
    if not sem.riscv_accessed_before_unlock:
        yield FAULT_MARK
        kvm_set_pfn_accessed(m, hfn)
        yield FAULT_PUT
        kvm_release_pfn_clean(m, hfn)
