# SPDX-License-Identifier: GPL-2.0-only
"""Eager page splitting: huge pages of a logging slot are split before a guest write has to do it (tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ...kvm.memslots import KvmMemorySlot
from ...operations import MISHAP_NO_MEMORY
from ..machine import Machine
from ..page_table import KvmMmuPage
from ..points import (
    GET_SPLIT_ALLOC,
    GET_SPLIT_LINK,
    ITER_RELOCK_R,
    ITER_RELOCK_W,
    LOG_SPLIT_LOCK_R,
    SPLIT_ALLOC,
    SPLIT_LINK,
)
from ..spte import PG_LEVEL_2M, is_last_spte, is_shadow_present_pte
from .map import tdp_mmu_split_huge_page
from .tdp_iter import TdpIter
from .tdp_mmu import kvm_tdp_mmu_put_root, tdp_mmu_free_sp, tdp_mmu_iter_cond_resched, tdp_mmu_next_root


def kvm_mmu_slot_try_split_huge_pages(m: Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """The whole slot, when logging is enabled. No flush: the pieces translate as the huge page did."""
    yield LOG_SPLIT_LOCK_R
    m.read_lock()
    yield from kvm_tdp_mmu_try_split_huge_pages(m, slot.base_gfn, slot.end_gfn())
    m.read_unlock()


def kvm_mmu_try_split_huge_pages(m: Machine, slot: KvmMemorySlot, start: i64, end: i64) -> Generator[int, None, None]:
    """What a harvest is about to protect. mmu_lock held for write."""
    yield from kvm_tdp_mmu_try_split_huge_pages(m, start, end)


def kvm_tdp_mmu_try_split_huge_pages(m: Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """As far as there is memory for tables: what stays huge is write-protected by the caller."""
    root = tdp_mmu_next_root(m, None, True)
    while root is not None:
        done = yield from tdp_mmu_split_huge_pages_root(m, root, start, end)
        if not done:
            kvm_tdp_mmu_put_root(m, root)
            break
        root = tdp_mmu_next_root(m, root, True)


def tdp_mmu_split_huge_pages_root(m: Machine, root: KvmMmuPage, start: i64, end: i64) -> Generator[int, None, bool]:
    """Split to 4K, one level per visit; False: -ENOMEM. Allocating may sleep, so it drops the locks like a reschedule
    does, but without the flush and the check for progress: nothing was changed yet."""
    writer = m.mmu_lock.state < 0
    relock = ITER_RELOCK_W if writer else ITER_RELOCK_R
    sp: KvmMmuPage | None = None
    m.rcu_read_lock()
    it = TdpIter(m, root, PG_LEVEL_2M, start, end)
    while it.more():
        yielded = yield from tdp_mmu_iter_cond_resched(m, it, False, relock, relock)
        if yielded:
            continue
        if not is_shadow_present_pte(it.old_spte) or not is_last_spte(it.old_spte, it.level):
            continue
        if sp is None:
            sp = yield from tdp_mmu_alloc_sp_for_split(m, root, writer)
            if sp is None:
                return False
            m.rcu_read_lock()
            it.yielded = True
            continue
        sp.level = it.level - 1
        sp.gfn = m.gfn_round_for_level(it.gfn, it.level)
        yield GET_SPLIT_LINK if writer else SPLIT_LINK
        split = yield from tdp_mmu_split_huge_page(m, it, sp)
        if split:
            sp = None
        else:
            it.retry()
    m.rcu_read_unlock()
    # A vCPU may have split the last one by itself.
    if sp is not None:
        tdp_mmu_free_sp(sp)
    return True


def tdp_mmu_alloc_sp_for_split(m: Machine, root: KvmMmuPage, writer: bool) -> Generator[int, None, KvmMmuPage | None]:
    """A table, allocated without mmu_lock and RCU, of which only the first is held again; None: there is no memory."""
    m.rcu_read_unlock()
    if writer:
        m.write_unlock()
        m.might_sleep()
        yield GET_SPLIT_ALLOC
        m.write_lock()
    else:
        m.read_unlock()
        m.might_sleep()
        yield SPLIT_ALLOC
        m.read_lock()
    if m.failing(MISHAP_NO_MEMORY):
        return None
    sp = m.alloc_table(1, 0, root)
    sp.tdp_mmu_page = True
    return sp
