# SPDX-License-Identifier: GPL-2.0-only
"""The life of a shadow page, i.e. of a page table of the shadow MMU: found or made, linked, zapped, freed (mmu.c).

A shadow page belongs to no root: it is named by what it maps and found again as long as it is of the current
generation, even if no entry points to it at the moment.  Freeing is the business of kvm_mmu_commit_zap_page().
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ...operations import RESCHED_LASTS
from ..machine import Machine
from ..obsolete import is_obsolete_sp
from ..page_table import KvmMmuPage
from ..points import FRONT_FLUSH, FRONT_YIELD, SHADOW_DROP_FLUSH, SHADOW_SET, VCPU_FREE_FLUSH
from ..spte import is_last_spte, is_shadow_present_pte, make_nonleaf_spte, spte_to_pfn
from .account_shadowed import unaccount_shadowed
from .mmu_spte import mmu_spte_clear_no_track, mmu_spte_set
from .pte_list import RmapIterator, pte_list_add, pte_list_remove
from .rmap import drop_spte
from .unsync import kvm_unlink_unsync_page, mark_unsync, mmu_pages_clear_parents, mmu_unsync_walk

# Shadow pages zapped before mmu_lock may be dropped: 10 in the kernel, whose VMs have thousands.
BATCH_ZAP_PAGES: Final[i64] = 1


def kvm_mmu_get_shadow_page(m: Machine, gfn: i64, level: i64) -> KvmMmuPage:
    """The direct page table of `level` that maps from `gfn` on. mmu_lock held for write.

    One that lost its parent to a huge page comes back with the leaves it had: the rmaps kept them up to date.
    """
    # The list holds no invalid page, so the generation alone decides.
    for sp in m.active_mmu_pages:
        if sp.gfn == gfn and sp.level == level and sp.mmu_valid_gen == m.mmu_valid_gen:
            return sp
    sp = m.alloc_table(level, gfn, None)
    sp.ad_disabled = not m.masks.kvm_ad_enabled()
    sp.mmu_valid_gen = m.mmu_valid_gen
    m.active_mmu_pages.append(sp)
    return sp


def link_shadow_page(m: Machine, sp: KvmMmuPage, index: i64, child: KvmMmuPage) -> Generator[int, None, None]:
    """Point an entry that is no page table yet to `child`."""
    if is_shadow_present_pte(sp.spt[index]):
        yield from drop_large_spte(m, sp, index)
    yield SHADOW_SET
    mmu_spte_set(m, sp, index, make_nonleaf_spte(m.masks, child, child.ad_disabled))
    mmu_page_add_parent_pte(child, sp, index)
    # A 4K table was brought up to date when it was found, without ceasing to be unsync; a higher one has been synced.
    if m.warn_on(child.unsync_children != 0, "link_shadow_page: unsync pages below") or child.unsync:
        mark_unsync(m, sp, index)


def drop_large_spte(m: Machine, sp: KvmMmuPage, index: i64) -> Generator[int, None, None]:
    """Zap a huge leaf and flush at once: the smaller pages that come in its place may allow less."""
    yield SHADOW_SET
    drop_spte(m, sp, index)
    yield from kvm_flush_remote_tlbs(m, SHADOW_DROP_FLUSH)


def mmu_page_add_parent_pte(child: KvmMmuPage, sp: KvmMmuPage, index: i64) -> None:
    pte_list_add(child.parent_ptes, sp, index)
    child.unlinked = False


def drop_parent_pte(m: Machine, child: KvmMmuPage, sp: KvmMmuPage, index: i64) -> None:
    """Clear the entry that points to `child`. Leaves of the child stay in the rmaps, and the child in the list."""
    pte_list_remove(m, child.parent_ptes, sp, index)
    mmu_spte_clear_no_track(m, sp, index)
    if child.parent_ptes.is_empty():
        child.unlinked = True
        m.oracle.table_unlinked(m, child)


def mmu_page_zap_pte(m: Machine, sp: KvmMmuPage, index: i64, invalid_list: list[KvmMmuPage] | None) -> i64:
    """Clear an entry. Returns how many shadow pages that zapped: with an invalid_list, those of L2 that nobody points
    to any more, since they are unlikely to be used again."""
    spte = sp.spt[index]
    if not is_shadow_present_pte(spte):
        return 0
    if is_last_spte(spte, sp.level):
        drop_spte(m, sp, index)
        return 0
    child = m.page_tables[spte_to_pfn(spte)]
    drop_parent_pte(m, child, sp, index)
    if invalid_list is not None and child.guest_mode and child.parent_ptes.is_empty():
        return kvm_mmu_prepare_zap_page(m, child, invalid_list)
    return 0


def mmu_zap_unsync_children(m: Machine, parent: KvmMmuPage, invalid_list: list[KvmMmuPage]) -> i64:
    """Nobody will find the unsync pages below to bring them up to date. Returns how many were zapped."""
    zapped: i64 = 0
    found = mmu_unsync_walk(m, parent)
    while found:
        for sp, path in found:
            kvm_mmu_prepare_zap_page(m, sp, invalid_list)
            mmu_pages_clear_parents(m, path)
            zapped += 1
        found = mmu_unsync_walk(m, parent)
    return zapped


def kvm_mmu_unlink_parents(m: Machine, sp: KvmMmuPage) -> None:
    it = RmapIterator(m, sp.parent_ptes)
    while it.more():
        drop_parent_pte(m, sp, it.sp, it.index)
        it.restart()


def kvm_mmu_prepare_zap_page(m: Machine, sp: KvmMmuPage, invalid_list: list[KvmMmuPage]) -> i64:
    """Empty a shadow page, unlink it and put it on invalid_list, to be committed before mmu_lock is dropped for good.
    Returns how many pages were put there, not counting a root in use, which its last user frees.

    No flush: an obsolete page needs none, any other gets it from the commit. In the kernel it is here that users of a
    root are asked to leave it; whoever may meet one zaps by zap_page_or_root().
    """
    m.lockdep_assert(m.mmu_lock.held[m.actor] < 0)
    zapped = mmu_zap_unsync_children(m, sp, invalid_list)
    for index in range(m.entries):
        zapped += mmu_page_zap_pte(m, sp, index, invalid_list)
    kvm_mmu_unlink_parents(m, sp)

    if not sp.invalid and not sp.direct:
        unaccount_shadowed(m, sp)
    if sp.unsync:
        kvm_unlink_unsync_page(m, sp)
    # A root that was zapped while in use is invalid and has left the list already.
    if not sp.invalid:
        m.active_mmu_pages.remove(sp)
    sp.invalid = True
    if sp.root_count > 0:
        return zapped
    invalid_list.append(sp)
    return zapped + 1


def zap_page_or_root(
    m: Machine, sp: KvmMmuPage, invalid_list: list[KvmMmuPage], point: int
) -> Generator[int, None, None]:
    """kvm_mmu_prepare_zap_page() of any page. From a current root that is in use its users are driven off: it is marked
    invalid before, or a vCPU could look too early."""
    was_obsolete = is_obsolete_sp(m, sp)
    kvm_mmu_prepare_zap_page(m, sp, invalid_list)
    if sp.root_count > 0 and not was_obsolete:
        yield from request_free_obsolete_roots(m, point)


def request_free_obsolete_roots(m: Machine, point: int) -> Generator[int, None, None]:
    """kvm_make_all_cpus_request(KVM_REQ_MMU_FREE_OBSOLETE_ROOTS). Yields `point` when it is posted; every vCPU has left
    the guest when it returns."""
    for vcpu in m.x86_vcpus:
        vcpu.free_obsolete_roots = True
    yield point
    m.kick_all()


def kvm_mmu_remote_flush_or_zap(
    m: Machine, invalid_list: list[KvmMmuPage], remote_flush: bool, point: int
) -> Generator[int, None, None]:
    """One flush for SPTEs that were taken away and for shadow pages to be freed."""
    if invalid_list:
        yield from kvm_mmu_commit_zap_page(m, invalid_list, point)
    elif remote_flush:
        yield from kvm_flush_remote_tlbs(m, point)


def kvm_mmu_commit_zap_page(m: Machine, invalid_list: list[KvmMmuPage], point: int) -> Generator[int, None, None]:
    """Free what was prepared. The flush comes first: it takes the page tables out of every structure cache."""
    if not invalid_list:
        return
    yield from kvm_flush_remote_tlbs(m, point)
    free_zapped_pages(m, invalid_list)


def free_zapped_pages(m: Machine, invalid_list: list[KvmMmuPage]) -> None:
    """kvm_mmu_free_shadow_page() of each.

    Lockless walkers run with interrupts off, so the IPI of the flush before has waited for them in the kernel. In the
    model they are RCU readers, and the page waits for those that are still in their section.
    """
    for sp in invalid_list:
        m.warn_on(not sp.invalid or sp.root_count != 0, "kvm_mmu_commit_zap_page: shadow page in use")
        m.call_rcu(sp)
    invalid_list.clear()


def kvm_zap_obsolete_pages(m: Machine) -> Generator[int, None, None]:
    """Zap the shadow pages of the old generation, oldest first: the first current one ends it. mmu_lock held for
    write and dropped now and then, slots_lock held, so that the generation stays.

    Without a flush until the end: all vCPUs have left the guest, and load a new root before they enter again.
    """
    invalid_list: list[KvmMmuPage] = []
    batch: i64 = 0
    while m.active_mmu_pages:
        sp = m.active_mmu_pages[0]
        if sp.mmu_valid_gen == m.mmu_valid_gen:
            break
        if batch >= BATCH_ZAP_PAGES and need_resched(m):
            batch = 0
            m.write_unlock()
            yield FRONT_YIELD
            m.write_lock()
            continue
        batch += kvm_mmu_prepare_zap_page(m, sp, invalid_list)
    yield from kvm_mmu_commit_zap_page(m, invalid_list, FRONT_FLUSH)


def need_resched(m: Machine) -> bool:
    """need_resched() || rwlock_needbreak(): the program says at which of the times it is asked. The list is in the
    order in which pages were made, so a region of addresses would come up anywhere, or several times at once; and where
    a slot's shadow pages are zapped, the walk of its rmaps has used up what was meant for its regions."""
    if (m.resched & RESCHED_LASTS) != 0:
        return True
    wanted = (m.resched & 1) != 0
    m.resched >>= 1
    return wanted


def mmu_alloc_root(m: Machine) -> KvmMmuPage:
    """A root of the current generation with a reference for the vCPU. mmu_lock held for write, else the list of shadow
    pages is changed under the feet of others."""
    m.lockdep_assert(m.mmu_lock.held[m.actor] < 0)
    root = kvm_mmu_get_shadow_page(m, 0, m.levels)
    root.root_count += 1
    return root


def mmu_free_root_page(m: Machine, root: KvmMmuPage) -> Generator[int, None, None]:
    """Drop a vCPU's reference. The last user of a root that was zapped meanwhile frees it, after a flush. mmu_lock
    held for write."""
    m.lockdep_assert(m.mmu_lock.held[m.actor] < 0)
    if root is m.dummy_root:
        return
    # unaccount_shadowed() looks slots up. That is for the last user of a zapped root, but which one it is nobody knows.
    if not root.direct:
        m.kvm_memslots()
    root.root_count -= 1
    if root.root_count > 0 or not root.invalid:
        return
    invalid_list: list[KvmMmuPage] = []
    kvm_mmu_prepare_zap_page(m, root, invalid_list)
    yield from kvm_mmu_commit_zap_page(m, invalid_list, VCPU_FREE_FLUSH)
