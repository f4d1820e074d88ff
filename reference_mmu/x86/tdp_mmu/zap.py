# SPDX-License-Identifier: GPL-2.0-only
"""Zapping in the TDP MMU: leaves of a range, whole roots, collapsible page tables (arch/x86/kvm/mmu/tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ...kvm.memslots import KvmMemorySlot
from ..hugepage import kvm_mmu_max_mapping_level
from ..machine import Machine
from ..page_table import KvmMmuPage
from ..points import (
    BACK_RELOCK,
    BACK_ZAP,
    COLLAPSE_FLUSH,
    COLLAPSE_FROZEN,
    COLLAPSE_RELOCK,
    COLLAPSE_YIELD_FLUSH,
    COLLAPSE_ZAP,
    ITER_FLUSH,
    ITER_RELOCK_W,
    ZAP_LEAF,
)
from ..spte import (
    FROZEN_SPTE,
    PG_LEVEL_1G,
    PG_LEVEL_2M,
    PG_LEVEL_4K,
    PG_LEVEL_NUM,
    SHADOW_NONPRESENT_VALUE,
    is_last_spte,
    is_shadow_present_pte,
)
from ..struct_page import mark_zapped_tdp_leaf
from .tdp_iter import TdpIter
from .tdp_mmu import (
    __tdp_mmu_set_spte_atomic,
    handle_changed_spte,
    handle_removed_pt,
    kvm_tdp_mmu_put_root,
    tdp_mmu_iter_cond_resched,
    tdp_mmu_iter_set_spte,
    tdp_mmu_next_root,
    tdp_mmu_set_spte_atomic,
)


def tdp_mmu_zap_leafs(
    m: Machine, root: KvmMmuPage, start: i64, end: i64, can_yield: bool, flush: bool
) -> Generator[int, None, bool]:
    """Zap all leaves of [start, end). mmu_lock held for write. Returns whether the caller owes a flush.

    Leaves of an invalid root need none: nobody can load it, and whoever still has it loaded flushes before use.
    """
    m.rcu_read_lock()
    it = TdpIter(m, root, PG_LEVEL_4K, start, end)
    while it.more():
        if can_yield:
            yielded = yield from tdp_mmu_iter_cond_resched(m, it, flush, ITER_FLUSH, ITER_RELOCK_W)
            if yielded:
                flush = False
                continue
        if not is_shadow_present_pte(it.old_spte) or not is_last_spte(it.old_spte, it.level):
            continue
        yield ZAP_LEAF
        yield from tdp_mmu_iter_set_spte(m, it, SHADOW_NONPRESENT_VALUE)
        mark_zapped_tdp_leaf(m, it.old_spte)
        if not root.invalid:
            flush = True
    # Only leaves were zapped, no page table was unlinked: RCU may end before the flush.
    m.rcu_read_unlock()
    return flush


def kvm_tdp_mmu_unmap_gfn_range(
    m: Machine, start: i64, end: i64, may_block: bool, flush: bool
) -> Generator[int, None, bool]:
    """Zap the range in every root, invalid ones included: a page the primary MMU is about to free must not stay
    mapped anywhere. The pending flush travels from root to root."""
    root = tdp_mmu_next_root(m, None, False)
    while root is not None:
        flush = yield from tdp_mmu_zap_leafs(m, root, start, end, may_block, flush)
        root = tdp_mmu_next_root(m, root, False)
    return flush


def zap_collapsible_spte_range(m: Machine, root: KvmMmuPage, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """Drop page tables that a huge page could replace now that the slot does not log. mmu_lock held for read."""
    sem = m.sem
    flush = False
    m.rcu_read_lock()
    it = TdpIter(m, root, PG_LEVEL_2M, slot.base_gfn, slot.end_gfn())
    while it.more():
        yielded = yield from tdp_mmu_iter_cond_resched(m, it, flush, COLLAPSE_YIELD_FLUSH, COLLAPSE_RELOCK)
        if yielded:
            flush = False
            continue
        if it.level > PG_LEVEL_1G or not is_shadow_present_pte(it.old_spte):
            continue
        # A huge leaf is what is wanted; a leaf that could be larger is left alone.
        if is_last_spte(it.old_spte, it.level):
            continue
        # The iterator starts at the entry that contains the slot's first gfn; it may belong to the slot before.
        if it.gfn < slot.base_gfn or it.gfn >= slot.end_gfn():
            continue
        if kvm_mmu_max_mapping_level(m, slot, it.gfn, PG_LEVEL_NUM) < it.level:
            continue

        yield COLLAPSE_ZAP
        if sem.batch_collapsible_zap_flush:
            zapped = yield from tdp_mmu_set_spte_atomic(m, it, SHADOW_NONPRESENT_VALUE)
        else:
            zapped = yield from tdp_mmu_zap_spte_atomic(m, it)
        if not zapped:
            it.retry()
        elif sem.batch_collapsible_zap_flush:
            flush = True
    if flush:
        yield from kvm_flush_remote_tlbs(m, COLLAPSE_FLUSH)
    m.rcu_read_unlock()


def tdp_mmu_zap_spte_atomic(m: Machine, it: TdpIter) -> Generator[int, None, bool]:
    """Freeze the entry, flush, clear it, and only then tear down what it pointed to: nobody can install anything
    before the flush. Removed by batch-collapsible-zap-flush."""
    if not __tdp_mmu_set_spte_atomic(m, it, FROZEN_SPTE):
        return False
    yield from kvm_flush_remote_tlbs(m, COLLAPSE_FROZEN)
    it.sp.spt[it.index] = SHADOW_NONPRESENT_VALUE
    m.spte_changed(it.sp, it.index, FROZEN_SPTE, SHADOW_NONPRESENT_VALUE)
    removed = handle_changed_spte(m, it.old_spte, SHADOW_NONPRESENT_VALUE, it.level)
    if removed is not None:
        yield from handle_removed_pt(m, removed, True)
    return True


def kvm_tdp_mmu_zap_collapsible_sptes(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    root = tdp_mmu_next_root(m, None, True)
    while root is not None:
        yield from zap_collapsible_spte_range(m, root, slot)
        root = tdp_mmu_next_root(m, root, True)


def kvm_tdp_mmu_invalidate_all_roots(m: Machine) -> None:
    """Mark every root invalid, to be zapped later by the thread that did it. mmu_lock held for write, so no fault
    is using one."""
    for root in m.tdp_mmu_roots:
        if not root.invalid:
            root.tdp_mmu_scheduled_root_to_zap = True
            root.invalid = True


def kvm_tdp_mmu_zap_invalidated_roots(m: Machine) -> Generator[int, None, None]:
    """Zap what kvm_tdp_mmu_invalidate_all_roots() marked, then drop the TDP MMU's own reference. mmu_lock held for
    read.

    No flush: a vCPU that loads a new root flushes locally, structure cache included.
    """
    root = tdp_mmu_next_root(m, None, False)
    while root is not None:
        if root.tdp_mmu_scheduled_root_to_zap:
            root.tdp_mmu_scheduled_root_to_zap = False
            yield from tdp_mmu_zap_root(m, root)
            kvm_tdp_mmu_put_root(m, root)
        root = tdp_mmu_next_root(m, root, False)


def tdp_mmu_zap_root(m: Machine, root: KvmMmuPage) -> Generator[int, None, None]:
    """Bottom-up, so that no single step tears down more than a page table's worth; PROVE_MMU skips to 1G to cover
    the recursive teardown."""
    m.rcu_read_lock()
    if not m.prove_mmu:
        yield from __tdp_mmu_zap_root(m, root, PG_LEVEL_4K)
        if root.level > PG_LEVEL_2M:
            yield from __tdp_mmu_zap_root(m, root, PG_LEVEL_2M)
    if root.level > PG_LEVEL_1G:
        yield from __tdp_mmu_zap_root(m, root, PG_LEVEL_1G)
    yield from __tdp_mmu_zap_root(m, root, root.level)
    m.rcu_read_unlock()


def __tdp_mmu_zap_root(m: Machine, root: KvmMmuPage, zap_level: i64) -> Generator[int, None, None]:
    it = TdpIter(m, root, zap_level, 0, m.pages_per_hpage(m.levels + 1))
    while it.more():
        yielded = yield from tdp_mmu_iter_cond_resched(m, it, False, BACK_RELOCK, BACK_RELOCK)
        if yielded:
            continue
        if not is_shadow_present_pte(it.old_spte) or it.level > zap_level:
            continue
        yield BACK_ZAP
        zapped = yield from tdp_mmu_set_spte_atomic(m, it, SHADOW_NONPRESENT_VALUE)
        if not zapped:
            it.retry()
