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

from ..kvm.follow_pfn import hva_to_pfn
from ..kvm.mmu_notifier import mmu_invalidate_retry_gfn
from .fast_fault import fast_page_fault
from .machine import Machine
from .obsolete import is_obsolete_sp
from .page_fault import KvmPageFault
from .points import (
    FAULT_GUP,
    FAULT_LOCK_R,
    FAULT_LOCK_W,
    FAULT_PFN,
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
    """Find the host page. RET_PF_CONTINUE: pfn and map_writable are set and a reference is held.

    __kvm_mmu_faultin_pfn() and kvm_handle_error_pfn() included; no asynchronous page fault is set up.
    """
    # The snapshot comes first: an invalidation that starts later makes the fault stale, whatever is looked up.
    fault.mmu_seq = m.mmu_invalidate_seq
    slot = fault.slot
    if slot is None:
        return RET_PF_EMULATE  # MMIO, with enable_mmio_caching off
    # Being deleted or moved: the deletion waits for SRCU, which this fault holds, so do not wait here.
    if slot.invalid:
        return RET_PF_RETRY
    if mmu_invalidate_retry_gfn(m, fault.mmu_seq, fault.gfn):
        return RET_PF_RETRY
    if slot.readonly and fault.write:
        return RET_PF_EMULATE  # KVM_PFN_ERR_RO_FAULT

    yield FAULT_GUP
    hva = slot.hva + fault.gfn - slot.base_gfn
    fault.pfn, fault.map_writable = yield from hva_to_pfn(m, hva, fault.write, fault.upgrade_fails or slot.readonly)
    fault.refcounted_page = fault.pfn
    if slot.readonly:
        fault.map_writable = False

    # Purely to avoid mmu_lock when the fault is known to be stale.
    yield FAULT_PFN
    if mmu_invalidate_retry_gfn(m, fault.mmu_seq, fault.gfn):
        kvm_mmu_finish_page_fault(m, fault, RET_PF_RETRY)
        return RET_PF_RETRY
    return RET_PF_CONTINUE


def kvm_tdp_mmu_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """The part under mmu_lock, held for read."""
    yield FAULT_LOCK_R
    m.read_lock()
    r = RET_PF_RETRY
    if not is_page_fault_stale(m, vcpu, fault):
        r = yield from kvm_tdp_mmu_map(m, vcpu, fault)
    kvm_mmu_finish_page_fault(m, fault, r)
    m.read_unlock()
    return r


def direct_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """The same with the shadow MMU's page tables: mmu_lock for write. make_mmu_pages_available() is left out: the
    number of shadow pages has no limit here."""
    yield FAULT_LOCK_W
    m.write_lock()
    r = RET_PF_RETRY
    if not is_page_fault_stale(m, vcpu, fault):
        r = yield from direct_map(m, vcpu, fault)
    kvm_mmu_finish_page_fault(m, fault, r)
    m.write_unlock()
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
    """kvm_release_faultin_page(), which this calls in the kernel: mark the exact page that was looked up and drop the
    reference, before mmu_lock is released, so that the marks precede whatever an invalidation lets the primary MMU do
    to the page."""
    pfn = fault.refcounted_page
    if pfn < 0:
        return
    page = m.host.pages[pfn]
    if r != RET_PF_RETRY:
        page.accessed += 1
        if fault.map_writable:
            page.dirty = True
        m.oracle.page_marked(m, pfn, fault.map_writable)
    fault.refcounted_page = -1
    m.kvm_put_page(pfn)
