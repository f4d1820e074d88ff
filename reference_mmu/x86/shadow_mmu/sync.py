# SPDX-License-Identifier: GPL-2.0-only
"""Bringing unsync shadow pages up to date with the guest's tables (mmu.c; FNAME(sync_spte)() in paging_tmpl.h).

That happens when the guest flushes: INVLPG one entry, a load of CR3 everything below the root.  A stale SPTE until then
is what the guest would see on hardware, too.  Flushes here are for KVM's own sake: an SPTE that is gone, or not
MMU_WRITABLE, is taken as proof that no TLB holds more.  mmu_lock is held for write throughout.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ...kvm.tlb import invalidate
from ...mm.errno import EINTR
from ...operations import MISHAP_LOCK_WANTED
from ..machine import Machine
from ..make_spte import make_spte
from ..page_table import KvmMmuPage
from ..points import SYNC_FLUSH, SYNC_LOCK, SYNC_SPTE
from ..resched import cond_resched_rwlock_write
from ..spte import (
    PG_LEVEL_4K,
    PT_ACCESSED_MASK,
    SHADOW_NONPRESENT_VALUE,
    is_last_spte,
    is_shadow_present_pte,
    spte_to_pfn,
)
from ..vcpu_arch import Vcpu
from ..write_protect import kvm_mmu_slot_gfn_write_protect
from .gpte import GPTE_UNREADABLE, gpte_access, gpte_to_gfn, is_present_gpte
from .mmu_spte import mmu_spte_update
from .read_gpte import guest_has_ad, kvm_vcpu_read_guest_atomic, protect_clean_gpte
from .rmap import drop_spte, kvm_mmu_page_get_access, kvm_mmu_page_get_gfn, kvm_mmu_page_set_translation
from .shadow_page import kvm_mmu_prepare_zap_page, kvm_mmu_remote_flush_or_zap, mmu_page_zap_pte
from .unsync import kvm_unlink_unsync_page, mmu_pages_clear_parents, mmu_unsync_walk


def prefetch_invalid_gpte(m: Machine, gpte: i64) -> bool:
    """Not present, or never used by the guest: nothing to have an SPTE for."""
    if not is_present_gpte(gpte):
        return True
    return guest_has_ad(m) and (gpte & PT_ACCESSED_MASK) == 0


def sync_spte(m: Machine, sp: KvmMmuPage, index: i64) -> Generator[int, None, int]:
    """Make a present leaf fit the guest's entry as it is now. 1: a flush is needed, 0: it is not, -1: the entry could
    not be read."""
    gpte = kvm_vcpu_read_guest_atomic(m, sp.gfn, index)
    if gpte == GPTE_UNREADABLE:
        return -1
    gfn = gpte_to_gfn(gpte)
    if prefetch_invalid_gpte(m, gpte) or gfn != kvm_mmu_page_get_gfn(m, sp, index):
        yield SYNC_SPTE
        drop_spte(m, sp, index)
        return 1

    pte_access = protect_clean_gpte(m, sp.access & gpte_access(gpte), gpte)
    if kvm_mmu_page_get_access(sp, index) == pte_access:
        return 0
    kvm_mmu_page_set_translation(sp, index, gfn, pte_access)

    # The pfn cannot have changed, an invalidation would have zapped the SPTE.
    spte = sp.spt[index]
    host_writable = (spte & m.masks.shadow_host_writable_mask) != 0
    slot = m.gfn_to_memslot(gfn)
    assert slot is not None
    new_spte, _ = make_spte(m, sp, slot, pte_access, gfn, spte_to_pfn(spte), spte, True, True, host_writable)
    yield SYNC_SPTE
    return 1 if mmu_spte_update(m, sp, index, new_spte) else 0


def kvm_sync_spte(m: Machine, sp: KvmMmuPage, index: i64) -> Generator[int, None, int]:
    if sp.spt[index] == SHADOW_NONPRESENT_VALUE:
        return 0
    return (yield from sync_spte(m, sp, index))


def kvm_sync_page(m: Machine, sp: KvmMmuPage, invalid_list: list[KvmMmuPage]) -> Generator[int, None, int]:
    """Synchronize every SPTE. 1: a flush is needed, 0: it is not, -1: the guest's table could not be read and the page
    has been zapped."""
    flush = 0
    for index in range(m.entries):
        ret = yield from kvm_sync_spte(m, sp, index)
        if ret < 0:
            kvm_mmu_prepare_zap_page(m, sp, invalid_list)
            return -1
        flush |= ret
    return flush


def mmu_sync_children(m: Machine, vcpu: Vcpu, parent: KvmMmuPage, can_yield: bool) -> Generator[int, None, i64]:
    """Synchronize all unsync pages below `parent`; they are not unsync afterwards. The write protection comes first,
    with its flush: what the guest writes after its table has been read must come to KVM.

    Those who wait for mmu_lock get it between two portions, when nothing is owed any more. -EINTR: the caller cannot
    let go of it, so the vCPU goes on with that before it enters the guest.
    """
    invalid_list: list[KvmMmuPage] = []
    flush = False
    found = mmu_unsync_walk(m, parent)
    while found:
        protected = False
        for sp, _ in found:
            changed = yield from kvm_vcpu_write_protect_gfn(m, sp.gfn)
            protected = protected or changed
        if protected:
            yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, True, SYNC_FLUSH)
            flush = False
        for sp, path in found:
            kvm_unlink_unsync_page(m, sp)
            ret = yield from kvm_sync_page(m, sp, invalid_list)
            flush = flush or ret > 0
            mmu_pages_clear_parents(m, path)
        if m.failing(MISHAP_LOCK_WANTED):
            yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, flush, SYNC_FLUSH)
            if not can_yield:
                vcpu.mmu_sync = True
                return -EINTR
            yield from cond_resched_rwlock_write(m)
            flush = False
        found = mmu_unsync_walk(m, parent)
    yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, flush, SYNC_FLUSH)
    return 0


def kvm_vcpu_write_protect_gfn(m: Machine, gfn: i64) -> Generator[int, None, bool]:
    slot = m.gfn_to_memslot(gfn)
    assert slot is not None
    return (yield from kvm_mmu_slot_gfn_write_protect(m, slot, gfn, PG_LEVEL_4K))


def is_unsync_root(root: KvmMmuPage) -> bool:
    """Read without mmu_lock: a page became unsync before the guest could write its table."""
    return root.unsync or root.unsync_children != 0


def kvm_mmu_sync_roots(m: Machine, vcpu: Vcpu, root: KvmMmuPage | None) -> Generator[int, None, None]:
    """The guest flushes everything: what it wrote to its page tables before must count from now on."""
    if root is None or not is_unsync_root(root):
        return
    yield SYNC_LOCK
    m.write_lock()
    yield from mmu_sync_children(m, vcpu, root, True)
    m.write_unlock()


def kvm_inject_emulated_page_fault(m: Machine, vcpu: Vcpu, addr: i64) -> Generator[int, None, None]:
    """kvm_inject_emulated_page_fault(): the guest is about to hear that its tables forbid the access. An SPTE that says
    the same of an older entry goes with that, as a CPU drops what it has cached of the address of a #PF."""
    if vcpu.walk_error_present:
        yield from kvm_mmu_invalidate_addr(m, vcpu, addr)


def kvm_mmu_invalidate_addr(m: Machine, vcpu: Vcpu, addr: i64) -> Generator[int, None, None]:
    """INVLPG: flush the vCPU's own entries and synchronize the SPTE of one address; its page stays unsync."""
    invalidate(m, vcpu, addr)
    sp = vcpu.root
    if sp is None:
        return
    yield SYNC_LOCK
    m.write_lock()
    while True:
        index = m.spte_index(addr, sp.level)
        if sp.unsync:
            ret = yield from kvm_sync_spte(m, sp, index)
            if ret < 0:
                mmu_page_zap_pte(m, sp, index, None)
            if ret != 0:
                yield from kvm_flush_remote_tlbs(m, SYNC_FLUSH)
        spte = sp.spt[index]
        if not sp.unsync_children or not is_shadow_present_pte(spte) or is_last_spte(spte, sp.level):
            break
        sp = m.page_tables[spte_to_pfn(spte)]
    m.write_unlock()
