# SPDX-License-Identifier: GPL-2.0-only
"""A fault of a guest with a Radix table (arch/powerpc/kvm/book3s_64_mmu_radix.c).

What is mapped, and how large, is read from the host's page table under mmu_lock; the page that GUP took is held
meanwhile, and marked dirty when all is done and mmu_lock released. Left out: nested guests, pages of 1 GiB.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.page_table import PageTable
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.vcpu import KvmVcpu
from ..mm.errno import EAGAIN, EFAULT
from ..mm.host import HOST_W
from ..observed import PF_EMULATE, PF_ERROR, PF_FAST, PF_FIXED, PF_RETRY
from ..stage2.fault import ACCESS_FLAG_FAULT, Fault
from ..stage2.memslot import memslot_of_fault
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf, is_table, make_leaf
from ..stage2.table import find, leaves, walk_to
from .book3s_hv import Book3sHv, find_kvm_host_pte, find_page, new_faultin, put_page, set_page_dirty_lock
from .points import (
    RADIX_CREATE,
    RADIX_DIRTY,
    RADIX_FLUSH,
    RADIX_GUP,
    RADIX_HARVEST,
    RADIX_LOOKUP,
    RADIX_RC,
    RADIX_SEQ,
)


class Book3sRadix(Book3sHv):
    """A table for all vCPUs."""

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvmppc_book3s_radix_page_fault(self, fault)

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """kvmppc_core_commit_memory_region_hv(): logging begins, and ends, with an empty slot."""
        if old is not None and new is not None and old.log_dirty_pages != new.log_dirty_pages:
            yield RADIX_FLUSH
            self.write_lock()
            for sp, index in leaves(self, new.base_gfn, new.end_gfn()):
                yield from self.unmap_leaf(sp, index)
            self.write_unlock()

    def test_clear_dirty(self, gfn: i64) -> Generator[int, None, None]:
        """kvm_radix_test_clear_dirty()"""
        if self.leaf_of(self.root, gfn)[0] & S2_WRITE:
            yield RADIX_HARVEST
            self.write_lock()
            yield from self.clear_dirty(gfn)
            self.write_unlock()


def kvmppc_book3s_radix_page_fault(m: Book3sHv, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. SRCU held."""
    slot = memslot_of_fault(m, fault)
    if slot is None:
        return PF_EMULATE
    if fault.kind == ACCESS_FLAG_FAULT:
        yield RADIX_RC
        m.write_lock()
        done = kvmppc_hv_handle_set_rc(m, fault)
        m.write_unlock()
        if done:
            return PF_FAST
    ret = yield from kvmppc_book3s_instantiate_page(m, fault, slot)
    if ret == -EAGAIN:
        return PF_RETRY
    return PF_FIXED if ret == 0 else PF_ERROR


def kvmppc_hv_handle_set_rc(m: Book3sHv, fault: Fault) -> bool:
    """Set R, and C for a store, where hardware does not. False if the leaf is gone, or does not allow as much."""
    sp, index = find(m, fault.gfn)
    pte = sp.spt[index]
    if not is_leaf(pte) or (fault.write and not pte & S2_MAY_WRITE):
        return False
    m.store(sp, index, pte | S2_YOUNG | S2_WRITE if fault.write else pte | S2_YOUNG)
    return True


def kvmppc_book3s_instantiate_page(m: Book3sHv, fault: Fault, slot: KvmMemorySlot) -> Generator[int, None, i64]:
    """Returns 0, -EAGAIN if the guest has to try again, -EFAULT."""
    hva = slot.hva + fault.gfn - slot.base_gfn
    yield RADIX_SEQ
    mmu_seq = m.mmu_invalidate_seq
    yield RADIX_GUP
    out = new_faultin(m, fault)
    pfn = yield from find_page(m, slot, fault, out, m.sem.ppc_radix_faultin_pfn)
    if is_error_noslot_pfn(pfn):
        return -EFAULT
    yield RADIX_LOOKUP
    m.write_lock()
    host_pfn = find_kvm_host_pte(m, mmu_seq, hva)
    writable = (m.host.flags[hva] & HOST_W) != 0 and (fault.write or out.writable)
    level = m.host.mapping_level(hva)
    m.write_unlock()
    if host_pfn < 0:
        put_page(m, out.page)
        return -EAGAIN
    pages = m.pages_per_hpage(level)
    # Neither does the kernel ask whether the whole block is in the slot.
    if slot.log_dirty_pages or level > m.root.level - 1 or (fault.gfn - hva) & (pages - 1) != 0:
        level = 1
    rights: i64 = S2_MAY_WRITE | S2_WRITE if writable else 0
    pte = make_leaf(host_pfn & ~(m.pages_per_hpage(level) - 1), rights | S2_YOUNG)
    ret = yield from kvmppc_create_pte(m, fault.gfn, level, pte, mmu_seq)
    yield RADIX_DIRTY
    if ret == 0 and writable:
        set_page_dirty_lock(m, out.page)
    put_page(m, out.page)
    return ret


def kvmppc_create_pte(m: Book3sHv, gfn: i64, level: i64, pte: i64, mmu_seq: i64) -> Generator[int, None, i64]:
    """Put a leaf into the table. Returns 0, -EAGAIN if the page is possibly gone."""
    yield RADIX_CREATE
    m.write_lock()
    if mmu_invalidate_retry(m, mmu_seq):
        m.write_unlock()
        return -EAGAIN
    sp, index = find(m, gfn, level)
    if sp.level > level and is_leaf(sp.spt[index]):
        yield from m.unmap_leaf(sp, index)
    sp, index = walk_to(m, gfn, level)
    if is_table(sp.spt[index]):
        yield from kvmppc_unmap_free_pmd_entry_table(m, sp, index)
    old = sp.spt[index]
    if is_leaf(old):
        differs = (old ^ pte) & ~(S2_MAY_WRITE | S2_WRITE | S2_YOUNG) != 0
        m.warn_on(differs, "kvmppc_create_pte: another page is mapped")
    # What is there keeps its bits; -- an empty entry has none.
    if old | pte != old:
        m.store(sp, index, old | pte)
    m.write_unlock()
    return 0


def kvmppc_unmap_free_pmd_entry_table(m: Book3sHv, sp: PageTable, index: i64) -> Generator[int, None, None]:
    """Remove a table where a block is to be: pointers to it are flushed, then what it mapped. mmu_lock held."""
    child = m.child(sp.spt[index])
    pte = sp.spt[index]
    m.store(sp, index, 0)
    m.unlink(child)
    yield from m.tlbie(sp, index, pte)
    for entry in range(m.entries):
        if is_leaf(child.spt[entry]) and child.spt[entry] & S2_WRITE:
            m.update_dirty_map(child.gfn + entry, child.gfn + entry + 1)
    m.free_table(child)
