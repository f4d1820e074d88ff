# SPDX-License-Identifier: GPL-2.0-only
"""Unsync shadow pages: guest page tables the guest may write freely until it flushes its TLB (mmu.c).

A page that is unsync, or has unsync pages below it, is marked in every parent, up to the roots; a mark may outlive its
reason and is cleared by the next walk.  Pages become unsync under mmu_lock, before the SPTE that lets the guest write
is stored: a CPU that wrote through it will find the marks when it flushes, without taking the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mypy_extensions import i64

from ..machine import Machine
from ..obsolete import is_obsolete_sp
from ..page_table import KvmMmuPage
from ..spte import PG_LEVEL_4K, is_last_spte, is_shadow_present_pte, spte_to_pfn
from .pte_list import RmapIterator

KVM_PAGE_ARRAY_NR: Final[i64] = 2
"""Unsync pages that a walk collects: in the kernel 16, of upper levels as well."""

# From the page where a walk began to the parent of an unsync page: (page, index of the next).
UnsyncPath = list[tuple[KvmMmuPage, int]]


def valid_sps_with_gptes(m: Machine, gfn: i64) -> Iterator[KvmMmuPage]:
    """for_each_gfn_valid_sp_with_gptes(): the shadow pages of the guest's table at gfn, one per level and access. Asked
    at each step: what is done with one page may zap the next."""
    for sp in list(m.active_mmu_pages):
        if sp.gfn == gfn and not sp.direct and not is_obsolete_sp(m, sp):
            yield sp


def mmu_try_to_unsync_pages(m: Machine, gfn: i64, synchronizing: bool, prefetch: bool) -> bool:
    """KVM is about to make an SPTE for gfn writable. False: no shadow page objects, or those that did are unsync now.
    True (-EPERM, -EEXIST): the SPTE must be write-protected."""
    m.unsync_calls += 1
    # Tracking protects the tables of upper levels, too.
    if m.kvm_gfn_is_write_tracked(gfn):
        return True
    if m.indirect_shadow_pages == 0:
        return False
    for sp in valid_sps_with_gptes(m, gfn):
        # First the guest's flush has to be complete.
        if synchronizing:
            return True
        if sp.unsync:
            continue
        # A mapping nobody asked for is not worth it.
        if prefetch:
            return True
        m.warn_on(sp.level != PG_LEVEL_4K, "mmu_try_to_unsync_pages: upper level is not tracked")
        kvm_unsync_page(m, sp)
    return False


def kvm_unsync_page(m: Machine, sp: KvmMmuPage) -> None:
    sp.unsync = True
    kvm_mmu_mark_parents_unsync(m, sp)


def kvm_unlink_unsync_page(m: Machine, sp: KvmMmuPage) -> None:
    m.warn_on(not sp.unsync, "kvm_unlink_unsync_page: shadow page is not unsync")
    sp.unsync = False


def kvm_mmu_mark_parents_unsync(m: Machine, sp: KvmMmuPage) -> None:
    it = RmapIterator(m, sp.parent_ptes)
    while it.more():
        mark_unsync(m, it.sp, it.index)


def mark_unsync(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    """Below entry `index` there is an unsync page."""
    if sp.unsync_child_bitmap[index] != 0:
        return
    sp.unsync_child_bitmap[index] = 1
    sp.unsync_children += 1
    # Whoever was marked already has marked its parents.
    if sp.unsync_children == 1:
        kvm_mmu_mark_parents_unsync(m, sp)


def clear_unsync_child_bit(m: Machine, sp: KvmMmuPage, index: i64) -> None:
    sp.unsync_children -= 1
    m.warn_on(sp.unsync_children < 0, "clear_unsync_child_bit: more cleared than marked")
    sp.unsync_child_bitmap[index] = 0


def mmu_unsync_walk(m: Machine, sp: KvmMmuPage) -> list[tuple[KvmMmuPage, UnsyncPath]]:
    """The unsync pages below `sp`, each once, with the way to it. One that has another parent stays marked in that,
    until the next walk. As many as a portion has room for."""
    found: list[tuple[KvmMmuPage, UnsyncPath]] = []
    if sp.unsync_children:
        __mmu_unsync_walk(m, sp, [], found)
    return found


def __mmu_unsync_walk(m: Machine, sp: KvmMmuPage, way: UnsyncPath, found: list[tuple[KvmMmuPage, UnsyncPath]]) -> bool:
    """Whether there are unsync pages below. Marks that have outlived their reason are cleared."""
    any_unsync = False
    for index in range(m.entries):
        if sp.unsync_child_bitmap[index] == 0:
            continue
        spte = sp.spt[index]
        here = [*way, (sp, int(index))]
        unsync = False
        if is_shadow_present_pte(spte) and not is_last_spte(spte, sp.level):
            child = m.page_tables[spte_to_pfn(spte)]
            if child.unsync_children:
                unsync = __mmu_unsync_walk(m, child, here, found)
            elif child.unsync:
                unsync = True
                if not any(other is child for other, _ in found):
                    found.append((child, here))
        if unsync:
            any_unsync = True
        else:
            clear_unsync_child_bit(m, sp, index)
        if len(found) == KVM_PAGE_ARRAY_NR:  # -ENOSPC
            break
    return any_unsync


def mmu_pages_clear_parents(m: Machine, path: UnsyncPath) -> None:
    """The page at the end of the way is not unsync any more: clear its mark, and those above as far as it was the
    last."""
    for sp, index in reversed(path):
        clear_unsync_child_bit(m, sp, index)
        if sp.unsync_children:
            return
