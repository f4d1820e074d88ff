# SPDX-License-Identifier: GPL-2.0-only
"""Mapping in the TDP MMU: the leaf of a fault, the tables on the way to it, splitting (arch/x86/kvm/mmu/tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from ...kvm.flush import kvm_flush_remote_tlbs
from ..hugepage import kvm_mmu_hugepage_adjust
from ..machine import Machine
from ..make_spte import make_huge_page_split_spte, make_spte
from ..page_fault import KvmPageFault
from ..page_table import KvmMmuPage
from ..points import MAP_DONE, MAP_FLUSH, MAP_LINK, MAP_STEP, MAP_TARGET, MAP_WARN_FLUSH
from ..ret_pf import RET_PF_FIXED, RET_PF_RETRY, RET_PF_SPURIOUS, RET_PF_WRITE_PROTECTED
from ..spte import (
    ACC_ALL,
    PG_LEVEL_4K,
    is_frozen_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    leaf_spte_change_needs_tlb_flush,
    make_nonleaf_spte,
)
from ..vcpu_arch import Vcpu
from .tdp_iter import TdpIter
from .tdp_mmu import tdp_mmu_free_sp, tdp_mmu_iter_set_spte, tdp_mmu_set_spte_atomic


def kvm_tdp_mmu_map(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """Install the mapping: walk down, adding or splitting what is in the way. mmu_lock held for read."""
    kvm_mmu_hugepage_adjust(m, fault)
    ret = RET_PF_RETRY
    root = vcpu.root
    assert root is not None
    m.rcu_read_lock()
    yield MAP_STEP
    it = TdpIter(m, root, PG_LEVEL_4K, fault.gfn, fault.gfn + 1)
    while it.more():
        # Somebody is at work on this entry and would only make our cmpxchg fail.
        if is_frozen_spte(it.old_spte):
            fault.frozen = True
            break
        if it.level == fault.goal_level:
            ret = yield from tdp_mmu_map_handle_target_level(m, fault, it)
            break
        if is_shadow_present_pte(it.old_spte) and not is_last_spte(it.old_spte, it.level):
            yield MAP_STEP  # the table may be unlinked before the iterator steps down: it reads the entry again
            continue

        sp = m.alloc_table(it.level - 1, m.gfn_round_for_level(it.gfn, it.level), root)
        sp.tdp_mmu_page = True
        yield MAP_LINK
        if is_shadow_present_pte(it.old_spte):
            linked = yield from tdp_mmu_split_huge_page(m, it, sp)
        else:
            linked = yield from tdp_mmu_link_sp(m, it, sp)
        # Somebody else changed the entry: let the guest try again.
        if not linked:
            tdp_mmu_free_sp(sp)
            break
    # Falling out of the loop means that a table vanished before the iterator could step into it: RET_PF_RETRY.
    yield MAP_DONE
    m.rcu_read_unlock()
    return ret


def tdp_mmu_link_sp(m: Machine, it: TdpIter, sp: KvmMmuPage) -> Generator[int, None, bool]:
    """True if linked. A writer cannot lose the entry to anyone: it stores without a cmpxchg."""
    spte = make_nonleaf_spte(m.masks, sp, not m.masks.kvm_ad_enabled())
    if m.mmu_lock.state < 0:
        yield from tdp_mmu_iter_set_spte(m, it, spte)
        return True
    return (yield from tdp_mmu_set_spte_atomic(m, it, spte))


def tdp_mmu_split_huge_page(m: Machine, it: TdpIter, sp: KvmMmuPage) -> Generator[int, None, bool]:
    """Replace a huge leaf by a table of smaller leaves with the same bits. No flush: old and new entries translate
    alike, so both may be cached."""
    for index in range(m.entries):
        sp.spt[index] = make_huge_page_split_spte(m, it.old_spte, sp, index)
    return (yield from tdp_mmu_link_sp(m, it, sp))


def tdp_mmu_map_handle_target_level(m: Machine, fault: KvmPageFault, it: TdpIter) -> Generator[int, None, int]:
    """Compute and store the leaf."""
    sem = m.sem
    sp = it.sp
    if m.warn_on(sp.level != fault.goal_level, "tdp_mmu_map: wrong level"):
        return RET_PF_RETRY
    # A prefetch must not take away what a real fault has installed.
    if fault.prefetch and is_shadow_present_pte(it.old_spte):
        return RET_PF_SPURIOUS

    slot = fault.slot
    assert slot is not None
    new_spte, wrprot = make_spte(
        m, sp, slot, ACC_ALL, it.gfn, fault.pfn, it.old_spte, fault.prefetch, False, fault.map_writable
    )
    fault.read_only = not is_mmu_writable_spte(m.masks, new_spte)
    ret = RET_PF_FIXED
    if new_spte == it.old_spte:
        ret = RET_PF_SPURIOUS
    else:
        yield MAP_TARGET
        old_spte = it.old_spte
        stored = yield from tdp_mmu_set_spte_atomic(m, it, new_spte)
        if not stored:
            fault.frozen = is_frozen_spte(it.old_spte)
            return RET_PF_RETRY
        if is_shadow_present_pte(old_spte):
            if not is_last_spte(old_spte, it.level):
                yield from kvm_flush_remote_tlbs(m, MAP_FLUSH)
            elif sem.tdp_fault_warn_flush_mmuw:
                if sem.dedup_leaf_flush_rule:
                    flush = leaf_spte_change_needs_tlb_flush(m.masks, old_spte, new_spte)
                else:
                    flush = is_mmu_writable_spte(m.masks, old_spte) and not is_mmu_writable_spte(m.masks, new_spte)
                if m.warn_on(flush, "tdp_mmu_map: fault cleared MMU_WRITABLE"):
                    yield from kvm_flush_remote_tlbs(m, MAP_WARN_FLUSH)

    # A write that the SPTE does not allow would fault for ever: emulate it.
    if wrprot and fault.write:
        ret = RET_PF_WRITE_PROTECTED
    return ret
