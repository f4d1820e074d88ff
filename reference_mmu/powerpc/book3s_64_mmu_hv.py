# SPDX-License-Identifier: GPL-2.0-only
"""A fault of a guest with a hashed page table (arch/powerpc/kvm/book3s_64_mmu_hv.c).

The guest has entered each gfn at its own address, 4 KiB and writable; KVM makes the entries valid and absent. An entry
is changed with its own lock held, and that of the chain of its page (rmap); nobody can come in between.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.page_table import PageTable
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.vcpu import KvmVcpu
from ..observed import PF_EMULATE, PF_ERROR, PF_FIXED, PF_RETRY
from ..oracle import Oracle
from ..stage2.aging import test_clear_young
from ..stage2.fault import Fault
from ..stage2.memslot import memslot_of_fault
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf, make_leaf
from ..stage2.table import unmap, walk_to
from .book3s_hv import Book3sHv, find_kvm_host_pte, find_page, new_faultin, put_page, set_page_dirty_lock
from .points import HV_DIRTY, HV_GUP, HV_HPTE, HV_LOOKUP, HV_SEQ


class Book3sHpt(Book3sHv):
    """Hardware sets R and C by itself."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, sem, actors, operations, oracle)
        self.hardware_young = True

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvmppc_book3s_hv_page_fault(self, fault)

    def table_walk_is_cached(self) -> bool:
        return False

    def locks_allow_store(self, sp: PageTable, here: i64) -> bool:
        """What it takes is the lock of the entry."""
        return True

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """kvm_age_rmapp(), with a tlbie for each R that is cleared."""
        yield from ()
        young = False
        for gfn in range(gfn_range.start, gfn_range.end):
            if test_clear_young(self, gfn, gfn + 1, True):
                self.flush_range(gfn, gfn + 1)
                young = True
        return young

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        """kvmppc_core_flush_memslot_hv(): without mmu_lock."""
        yield from unmap(self, slot.base_gfn, slot.end_gfn())

    def test_clear_dirty(self, gfn: i64) -> Generator[int, None, None]:
        """kvm_test_clear_dirty_npages()"""
        return self.clear_dirty(gfn)


def kvmppc_book3s_hv_page_fault(m: Book3sHv, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. SRCU held."""
    hpte = m.leaf_of(m.root, fault.gfn)[0]
    slot = memslot_of_fault(m, fault)
    if slot is None:
        return PF_EMULATE
    hva = slot.hva + fault.gfn - slot.base_gfn
    yield HV_SEQ
    mmu_seq = m.mmu_invalidate_seq
    yield HV_GUP
    out = new_faultin(m, fault)
    out.writable = fault.write
    pfn = yield from find_page(m, slot, fault, out, m.sem.ppc_hv_faultin_pfn)
    if is_error_noslot_pfn(pfn):
        return PF_ERROR
    yield HV_LOOKUP
    m.write_lock()
    host_pfn = find_kvm_host_pte(m, mmu_seq, hva)
    m.write_unlock()
    if host_pfn < 0:
        put_page(m, out.page)
        return PF_RETRY
    yield HV_HPTE
    mapped = set_hpte(m, slot, fault.gfn, host_pfn, out.writable, hpte, mmu_seq)
    yield HV_DIRTY
    if mapped and out.writable:
        set_page_dirty_lock(m, out.page)
    put_page(m, out.page)
    return PF_FIXED if mapped else PF_RETRY


def set_hpte(m: Book3sHv, slot: KvmMemorySlot, gfn: i64, pfn: i64, writable: bool, hpte: i64, mmu_seq: i64) -> bool:
    """Make the entry valid, if it is what it was, `hpte`, and the page is not stale. A valid one is made absent and
    flushed before, and keeps R and C."""
    sp, index = walk_to(m, gfn, 1)
    old = sp.spt[index]
    if old != hpte or mmu_invalidate_retry(m, mmu_seq):
        return False
    rights: i64 = S2_MAY_WRITE if writable else 0
    if is_leaf(old):
        m.store(sp, index, 0)
        m.flush_range(gfn, gfn + 1)
        rights |= old & (S2_YOUNG | S2_WRITE)
        if not writable and rights & S2_WRITE:
            rights &= ~S2_WRITE
            m.mark_page_dirty_in_slot(slot, gfn)
    m.store(sp, index, make_leaf(pfn, rights))
    return True
