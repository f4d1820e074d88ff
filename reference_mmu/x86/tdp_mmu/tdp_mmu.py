# SPDX-License-Identifier: GPL-2.0-only
"""How SPTEs of the TDP MMU are written, page tables torn down and roots walked (arch/x86/kvm/mmu/tdp_mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ..machine import Machine
from ..page_table import KvmMmuPage
from ..points import MAP_FROZEN_CHILD, REMOVED_CHILD
from ..resched import use_up
from ..spte import FROZEN_SPTE, is_frozen_spte, is_last_spte, is_shadow_present_pte, spte_has_volatile_bits, spte_to_pfn
from ..struct_page import mark_changed_leaf
from .tdp_iter import TdpIter


def __tdp_mmu_set_spte_atomic(m: Machine, it: TdpIter, new_spte: i64) -> bool:
    """cmpxchg; True on success. On failure it.old_spte is what was found instead."""
    m.warn_on(it.yielded or is_frozen_spte(it.old_spte), "tdp_mmu_set_spte_atomic: yielded or frozen")
    current = it.sp.spt[it.index]
    if current != it.old_spte:
        it.old_spte = current
        return False
    it.sp.spt[it.index] = new_spte
    m.spte_changed(it.sp, it.index, it.old_spte, new_spte)
    return True


def tdp_mmu_set_spte_atomic(m: Machine, it: TdpIter, new_spte: i64) -> Generator[int, None, bool]:
    """Replace *sptep if it still is it.old_spte, and deal with what the old value meant. mmu_lock held for read.
    Returns True on success (the kernel returns 0, or -EBUSY)."""
    if not __tdp_mmu_set_spte_atomic(m, it, new_spte):
        return False
    removed = handle_changed_spte(m, it.old_spte, new_spte, it.level)
    if removed is not None:
        yield from handle_removed_pt(m, removed, True)
    return True


def tdp_mmu_iter_set_spte(m: Machine, it: TdpIter, new_spte: i64) -> Generator[int, None, None]:
    """The same under mmu_lock held for write: nobody else stores, only hardware and fast_page_fault() may."""
    m.warn_on(it.yielded, "tdp_mmu_iter_set_spte: yielded")
    m.warn_on(is_frozen_spte(it.old_spte) or is_frozen_spte(new_spte), "tdp_mmu_set_spte: frozen")
    old_spte = kvm_tdp_mmu_write_spte(m, it.sp, it.index, it.old_spte, new_spte)
    it.old_spte = old_spte
    m.spte_changed(it.sp, it.index, old_spte, new_spte)
    removed = handle_changed_spte(m, old_spte, new_spte, it.level)
    if removed is not None:
        yield from handle_removed_pt(m, removed, False)


def kvm_tdp_mmu_write_spte(m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> i64:
    """xchg if the entry can change under us, else a plain store; returns the value that was replaced."""
    if (
        is_shadow_present_pte(old_spte)
        and is_last_spte(old_spte, sp.level)
        and spte_has_volatile_bits(m.masks, old_spte)
    ):
        old_spte = sp.spt[index]
    sp.spt[index] = new_spte
    return old_spte


def tdp_mmu_clear_spte_bits(m: Machine, it: TdpIter, mask: i64) -> i64:
    """Clear bits of *sptep with mmu_lock held for write: by fetch-and if other bits may change meanwhile, else by
    storing the value read before; returns the old value."""
    old_spte = it.old_spte
    if spte_has_volatile_bits(m.masks, old_spte):
        old_spte = it.sp.spt[it.index]
    it.sp.spt[it.index] = old_spte & ~mask
    m.spte_changed(it.sp, it.index, old_spte, old_spte & ~mask)
    return old_spte


def handle_changed_spte(m: Machine, old_spte: i64, new_spte: i64, level: i64) -> KvmMmuPage | None:
    """All but its last step: the kernel calls handle_removed_pt() here. Only that waits, so it is left to the caller:
    returns the page table that was unlinked, None if none was."""
    was_present = is_shadow_present_pte(old_spte)
    is_present = is_shadow_present_pte(new_spte)
    was_leaf = was_present and is_last_spte(old_spte, level)
    is_leaf = is_present and is_last_spte(new_spte, level)
    pfn_changed = spte_to_pfn(old_spte) != spte_to_pfn(new_spte)
    # Whoever changes the pfn must zap and flush first: two pfns at once for one gfn corrupt the guest.
    m.bug_on(was_leaf and is_leaf and pfn_changed, "handle_changed_spte: leaf changed its pfn")
    if was_leaf:
        mark_changed_leaf(m, old_spte, new_spte)
    if (
        was_present
        and not was_leaf
        and (is_leaf or not is_present or m.warn_on(pfn_changed, "table replaced by table"))
    ):
        return m.page_tables[spte_to_pfn(old_spte)]
    return None


def tdp_mmu_free_sp(sp: KvmMmuPage) -> None:
    """A table that was never linked: nobody has seen it, so it goes at once."""
    sp.freed = True


def handle_removed_pt(m: Machine, sp: KvmMmuPage, shared: bool) -> Generator[int, None, None]:
    """Tear down an unlinked page table and free it after a grace period. With `shared`, readers of mmu_lock may be
    inside it: every child becomes FROZEN, so that their cmpxchg fails; a child that already is FROZEN belongs to
    somebody else, who is waited for. Until it is its turn, a child may be changed as if the table were linked."""
    sp.unlinked = True
    m.oracle.table_unlinked(m, sp)
    for index in range(m.entries):
        if is_shadow_present_pte(sp.spt[index]):
            yield REMOVED_CHILD
        if shared:
            while is_frozen_spte(sp.spt[index]):
                yield MAP_FROZEN_CHILD
        elif not is_shadow_present_pte(sp.spt[index]):
            continue
        old_spte = sp.spt[index]
        sp.spt[index] = FROZEN_SPTE
        removed = handle_changed_spte(m, old_spte, FROZEN_SPTE, sp.level)
        if removed is not None:
            yield from handle_removed_pt(m, removed, shared)
    m.call_rcu(sp)


def need_resched(m: Machine, it: TdpIter) -> bool:
    """need_resched() || rwlock_needbreak(): the program says at which regions, once each, or every how many."""
    region = it.next_last_level_gfn >> m.bits
    if m.resched_every != 0:
        return region - m.resched_region >= m.resched_every
    return (m.resched >> (region & 31)) & 1 != 0


def tdp_mmu_iter_cond_resched(
    m: Machine, it: TdpIter, flush: bool, flush_point: int, relock_point: int
) -> Generator[int, None, bool]:
    """Drop mmu_lock and RCU if somebody wants the CPU; True if so, and the caller must clear its flush flag and
    `continue`: everything it read is void. Never yields twice without progress, nor with a flush pending."""
    sem = m.sem
    if m.prove_mmu or not sem.demote_iter_yielded_warn:
        m.count_check()
        m.warn_on(it.yielded, "tdp_mmu_iter_cond_resched: already yielded")

    if sem.resched_check_before_progress:
        m.count_check()
        if not need_resched(m, it):
            return False
        m.count_check()
        if it.next_last_level_gfn == it.yielded_gfn:
            return False
    else:
        m.count_check()
        if it.next_last_level_gfn == it.yielded_gfn:
            return False
        m.count_check()
        if not need_resched(m, it):
            return it.yielded

    m.resched_region = it.next_last_level_gfn >> m.bits
    use_up(m, m.resched_region & 31)
    if flush:
        yield from kvm_flush_remote_tlbs(m, flush_point)
    m.rcu_read_unlock()
    writer = m.mmu_lock.state < 0
    if writer:
        m.write_unlock()
    else:
        m.read_unlock()
    m.might_sleep()
    yield relock_point
    if writer:
        m.write_lock()
    else:
        m.read_lock()
    m.rcu_read_lock()
    it.yielded = True
    return True


def kvm_tdp_mmu_get_root(root: KvmMmuPage) -> bool:
    """refcount_inc_not_zero()"""
    if root.root_count == 0:
        return False
    root.root_count += 1
    return True


def kvm_tdp_mmu_put_root(m: Machine, root: KvmMmuPage) -> None:
    """The last reference to a root frees it; the TDP MMU itself holds one until the root is zapped."""
    root.root_count -= 1
    if root.root_count > 0:
        return
    m.bug_on(not root.invalid, "kvm_tdp_mmu_put_root: last reference to a valid root")
    m.tdp_mmu_roots.remove(root)
    m.call_rcu(root)


def tdp_mmu_next_root(m: Machine, prev_root: KvmMmuPage | None, only_valid: bool) -> KvmMmuPage | None:
    """The next root with a reference taken, the reference of prev_root dropped: safe across yields. None: no more."""
    position = 0 if prev_root is None else m.tdp_mmu_roots.index(prev_root) + 1
    next_root: KvmMmuPage | None = None
    while position < len(m.tdp_mmu_roots):
        root = m.tdp_mmu_roots[position]
        if (not only_valid or not root.invalid) and kvm_tdp_mmu_get_root(root):
            next_root = root
            break
        position += 1
    if prev_root is not None:
        kvm_tdp_mmu_put_root(m, prev_root)
    return next_root
