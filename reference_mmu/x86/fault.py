# SPDX-License-Identifier: GPL-2.0-only
"""The page fault of a direct MMU, from the exit to the SPTE (kvm_tdp_page_fault() and below: mmu.c, tdp_mmu.c).

Order of one fault, and what may run in between:

    fast_page_fault()        lockless; another CPU may change the SPTE at any time, the cmpxchg decides
    kvm_mmu_faultin_pfn()    snapshot of mmu_invalidate_seq, then the page; a notifier may invalidate it meanwhile
    mmu_lock                 read (TDP MMU) or write; from here no invalidation can begin or end
    is_page_fault_stale()    the snapshot is judged once, here; if it holds, the pfn stays valid until unlock
    kvm_tdp_mmu_map()        other readers change the same tables, every store is a cmpxchg
    kvm_mmu_finish_page_fault()   the page is marked and released before mmu_lock is
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import Faultin, gfn_to_pfn_memslot, kvm_faultin_pfn
from ..kvm.guest_memfd import GmemPage, kvm_gmem_get_pfn
from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry_gfn
from ..kvm.pfn import KVM_PFN_ERR_HWPOISON, KVM_PFN_ERR_RO_FAULT, KVM_PFN_ERR_SIGPENDING, NO_PAGE, is_error_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_page_clean,
    kvm_release_page_dirty,
    kvm_release_page_unused,
    kvm_release_pfn_clean,
    kvm_release_pfn_dirty,
)
from ..mm.errno import EFAULT, EINTR
from ..mm.gup import FOLL_INTERRUPTIBLE, FOLL_NOWAIT, FOLL_TRIED, FOLL_WRITE
from ..observed import EV_ERRNO
from .fast_fault import fast_page_fault
from .machine import Machine
from .obsolete import is_obsolete_sp
from .page_fault import KvmPageFault
from .points import (
    FAULT_GUP,
    FAULT_LOCK_R,
    FAULT_LOCK_W,
    FAULT_PFN,
    FAULT_RELEASE,
    FAULT_SEQ,
    PLACEBO_FAULT,
)
from .ret_pf import (
    RET_PF_CONTINUE,
    RET_PF_EMULATE,
    RET_PF_INVALID,
    RET_PF_RETRY,
    RET_PF_WRITE_PROTECTED,
)
from .shadow_mmu.direct_map import direct_map
from .tdp_mmu.map import kvm_tdp_mmu_map
from .vcpu_arch import Vcpu


def kvm_tdp_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """Resolve a fault of a direct MMU; returns RET_PF_*. SRCU held.

    The steps before mmu_lock stand here once; in the kernel kvm_tdp_mmu_page_fault() and direct_page_fault() each
    begin with them, and kvm_mmu_do_page_fault() has looked the slot up.
    """
    fault.slot = m.gfn_to_memslot(fault.gfn)
    if page_fault_handle_page_track(m, fault):
        return RET_PF_WRITE_PROTECTED

    r = yield from fast_page_fault(m, vcpu, fault)
    if r != RET_PF_INVALID:
        return r

    # mmu_topup_memory_caches() may sleep.
    yield FAULT_SEQ
    r = yield from kvm_mmu_faultin_pfn(m, fault)
    if r != RET_PF_CONTINUE:
        return r
    if m.sem.placebo_points:
        yield PLACEBO_FAULT
    if m.tdp_mmu_enabled:
        return (yield from kvm_tdp_mmu_page_fault(m, vcpu, fault))
    return (yield from direct_page_fault(m, vcpu, fault))


def page_fault_handle_page_track(m: Machine, fault: KvmPageFault) -> bool:
    """A write to a present but tracked gfn can only be emulated."""
    return fault.present and fault.write and m.kvm_gfn_is_write_tracked(fault.gfn)


def kvm_mmu_faultin_pfn(m: Machine, fault: KvmPageFault) -> Generator[int, None, int]:
    """Find the host page. RET_PF_CONTINUE: pfn and map_writable are set and a reference is held."""
    # The snapshot comes first: an invalidation that starts later makes the fault stale, whatever is looked up.
    fault.mmu_seq = m.mmu_invalidate_seq
    # Nor does a change of attributes go unnoticed, as it is an invalidation.
    if m.gmem is not None and fault.is_private != m.kvm_mem_is_private(fault.gfn):
        return kvm_mmu_prepare_memory_fault_exit(m, EFAULT)
    slot = fault.slot
    if slot is None:
        return RET_PF_EMULATE  # MMIO, with enable_mmio_caching off
    # Being deleted or moved: the deletion waits for SRCU, which this fault holds, so do not wait here.
    if slot.invalid:
        return RET_PF_RETRY
    if mmu_invalidate_retry_gfn(m, fault.mmu_seq, fault.gfn):
        return RET_PF_RETRY
    if not (slot.readonly and fault.write):  # KVM_PFN_ERR_RO_FAULT needs no page
        yield FAULT_GUP
    if fault.is_private:
        r = yield from kvm_mmu_faultin_pfn_private(m, slot, fault)
        if r != RET_PF_CONTINUE:
            return r
    else:
        yield from __kvm_mmu_faultin_pfn(m, slot, fault)
        if is_error_pfn(fault.pfn):
            return kvm_handle_error_pfn(fault)

    # Purely to avoid mmu_lock when the fault is known to be stale.
    if mmu_invalidate_retry_gfn(m, fault.mmu_seq, fault.gfn):
        kvm_mmu_finish_page_fault(m, fault, RET_PF_RETRY)
        return RET_PF_RETRY
    return RET_PF_CONTINUE


def __kvm_mmu_faultin_pfn(m: Machine, slot: KvmMemorySlot, fault: KvmPageFault) -> Generator[int, None, None]:
    """Two tries: one that does not wait, and if the page has to be waited for, one that does, which any signal may
    interrupt. In between an asynchronous page fault may be set up; left out."""
    converted = m.sem.x86_convert_to_faultin_pfn
    asked = FOLL_WRITE if fault.write else 0
    foll = asked | FOLL_NOWAIT
    out = Faultin(fault.map_writable, fault.upgrade_fails)
    while True:
        if converted:
            fault.pfn = yield from kvm_faultin_pfn(m, slot, fault.gfn, foll, out)
            fault.refcounted_page = out.page
        else:
            fault.pfn = yield from gfn_to_pfn_memslot(m, slot, fault.gfn, foll, out)
        if not out.needs_io or (foll & FOLL_TRIED) != 0:
            break
        foll = asked | FOLL_INTERRUPTIBLE | FOLL_TRIED
        if m.sem.gup_no_wait_error_code and not converted:
            foll |= FOLL_NOWAIT  # as committed, mended by the conversion: the second try does not wait either
    if not is_error_pfn(fault.pfn):
        yield FAULT_PFN  # before anything else is read: the page may be gone by then
    fault.map_writable = out.writable


def kvm_mmu_faultin_pfn_private(m: Machine, slot: KvmMemorySlot, fault: KvmPageFault) -> Generator[int, None, int]:
    """kvm_mmu_faultin_pfn_private(): the page comes from the guest_memfd, whatever the process has mapped."""
    if not slot.kvm_slot_can_be_private():
        return kvm_mmu_prepare_memory_fault_exit(m, EFAULT)
    out = GmemPage()
    r = yield from kvm_gmem_get_pfn(m, slot, fault.gfn, out)
    if r != 0:
        return kvm_mmu_prepare_memory_fault_exit(m, -r)
    yield FAULT_PFN
    fault.pfn = out.pfn
    fault.refcounted_page = out.page
    fault.map_writable = not slot.readonly
    return RET_PF_CONTINUE


def kvm_mmu_prepare_memory_fault_exit(m: Machine, error: i64) -> int:
    """kvm_mmu_prepare_memory_fault_exit(): KVM_RUN returns an errno, and tells which gfn it is about."""
    m.record(EV_ERRNO, error)
    return -int(error)


def kvm_handle_error_pfn(fault: KvmPageFault) -> int:
    """kvm_handle_error_pfn(): RET_PF_*, or the errno with which KVM_RUN returns."""
    if fault.pfn == KVM_PFN_ERR_SIGPENDING:
        return -int(EINTR)
    if fault.pfn == KVM_PFN_ERR_RO_FAULT:
        return RET_PF_EMULATE  # the access is treated as MMIO
    if fault.pfn == KVM_PFN_ERR_HWPOISON:
        return RET_PF_RETRY  # after SIGBUS
    return -int(EFAULT)


def kvm_tdp_mmu_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """The part under mmu_lock, held for read."""
    yield FAULT_LOCK_R
    m.read_lock()
    r = RET_PF_RETRY
    if not is_page_fault_stale(m, vcpu, fault):
        r = yield from kvm_tdp_mmu_map(m, vcpu, fault)
    if m.sem.x86_finish_page_fault_helper:
        kvm_mmu_finish_page_fault(m, fault, r)
    m.read_unlock()
    if not m.sem.x86_finish_page_fault_helper:
        yield FAULT_RELEASE
        kvm_mmu_finish_page_fault(m, fault, r)
    return r


def direct_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """The same with the shadow MMU's page tables: mmu_lock for write. make_mmu_pages_available() is left out: the
    number of shadow pages has no limit here."""
    yield FAULT_LOCK_W
    m.write_lock()
    r = RET_PF_RETRY
    if not is_page_fault_stale(m, vcpu, fault):
        r = yield from direct_map(m, vcpu, fault)
    if m.sem.x86_finish_page_fault_helper:
        kvm_mmu_finish_page_fault(m, fault, r)
    m.write_unlock()
    if not m.sem.x86_finish_page_fault_helper:
        yield FAULT_RELEASE
        kvm_mmu_finish_page_fault(m, fault, r)
    return r


def is_page_fault_stale(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> bool:
    """mmu_lock held. Was the root or the page invalidated since the fault began?"""
    root = vcpu.root
    if root is None:
        return True
    # A dummy root is backed by no shadow page: only the request tells that it is out of date.
    if vcpu.free_obsolete_roots if root is m.dummy_root else is_obsolete_sp(m, root):
        return True
    return fault.slot is not None and mmu_invalidate_retry_gfn(m, fault.mmu_seq, fault.gfn)


def kvm_mmu_finish_page_fault(m: Machine, fault: KvmPageFault, r: int) -> None:
    """Mark the page that was looked up, and let go of it. Since x86-finish-page-fault-helper before mmu_lock is
    released, so that the marks precede whatever an invalidation lets the primary MMU do to the page.

    Before x86-put-refcounted-page-not-pfn the page is guessed from the pfn, which hugepage_adjust() may have rounded
    down. A negative errno counts as if the page had been mapped.
    """
    sem = m.sem
    used = r != RET_PF_RETRY
    dirty = fault.map_writable and sem.x86_dirty_at_origin_of_make_spte
    if sem.release_faultin_page_common:
        kvm_release_faultin_page(m, fault.refcounted_page, not used, dirty)
    elif not sem.x86_put_refcounted_page_not_pfn:
        if sem.x86_dirty_at_origin_of_make_spte:
            assert_finish_is_locked(m, r)
        if used and dirty:
            kvm_release_pfn_dirty(m, fault.pfn)
        else:
            kvm_release_pfn_clean(m, fault.pfn)
    else:
        assert_finish_is_locked(m, r)
        if not used and sem.x86_unused_faultin_not_accessed:
            kvm_release_page_unused(m, fault.refcounted_page)
        elif used and dirty:
            kvm_release_page_dirty(m, fault.refcounted_page)
        else:
            kvm_release_page_clean(m, fault.refcounted_page)
    fault.refcounted_page = NO_PAGE


def assert_finish_is_locked(m: Machine, r: int) -> None:
    """lockdep_assert_once() of kvm_mmu_finish_page_fault()"""
    m.lockdep_assert(r == RET_PF_RETRY or m.mmu_lock.held[m.actor] != 0)
