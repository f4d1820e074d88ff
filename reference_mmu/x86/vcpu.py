# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU thread does: run the guest, handle its exits, prefetch (vcpu_run() in x86.c, handle_ept_violation())."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.pfn import KVM_PFN_ERR_HWPOISON
from ..kvm.tlb import invalidate
from ..mm.gup import fault_in_user
from ..mm.host import HOST_D
from ..observed import (
    EV_PF,
    PF_EMULATE,
    PF_ERROR,
    PF_FAST,
    PF_FIXED,
    PF_FROZEN,
    PF_INJECTED,
    PF_READ_ONLY,
    PF_RETRY,
    PF_SPURIOUS,
    PF_WRITE_PROTECTED,
)
from ..points import FAULT_ENTER, FAULT_RETRY
from .apic_access_page import kvm_vcpu_reload_apic_access_page
from .fault import kvm_tdp_page_fault
from .machine import Machine
from .page_fault import KvmPageFault
from .points import APIC_ACCESS, EMULATE, EMULATE_MARK, FAULT_EXIT, PLACEBO_EXIT
from .ret_pf import RET_PF_EMULATE, RET_PF_FIXED, RET_PF_RETRY, RET_PF_SPURIOUS, RET_PF_WRITE_PROTECTED
from .roots import kvm_mmu_free_obsolete_roots, kvm_mmu_free_roots, kvm_mmu_reload
from .shadow_mmu.guest_walk import walk_addr
from .shadow_mmu.paging_tmpl import page_fault
from .shadow_mmu.sync import kvm_inject_emulated_page_fault, kvm_mmu_invalidate_addr, kvm_mmu_sync_roots
from .shadow_mmu.track_write import kvm_mmu_track_write
from .tlb import DONE, VIOLATION, hardware_access
from .vcpu_arch import Vcpu


def vcpu_access(m: Machine, vcpu: Vcpu, gfn: i64, write: bool, upgrade_fails: bool) -> Generator[int, None, None]:
    """One load or store of the guest, with as many exits as it takes."""
    while True:
        if is_asked(vcpu):
            yield from vcpu_enter_guest(m, vcpu)
        else:
            m.oracle.guest_entered(m, vcpu)
        vcpu.accessing = True
        result = yield from hardware_access(m, vcpu, gfn, write)
        vcpu.accessing = False
        if result == DONE:
            return
        m.vm_exit(vcpu)
        if result == VIOLATION:
            invalidate(m, vcpu, gfn)
            over = yield from handle_ept_violation(m, vcpu, gfn, write, upgrade_fails)
            if over:
                return


def vcpu_write_gpte(m: Machine, vcpu: Vcpu, addr: i64, index: i64, gpte: i64) -> Generator[int, None, None]:
    """The guest stores an entry into the page at virtual page `addr`, most likely one of its page tables."""
    vcpu.store_index = index
    vcpu.store_gpte = gpte
    yield from vcpu_access(m, vcpu, addr, True, False)
    vcpu.store_index = -1


def access_apic(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """The guest uses a register of its APIC: hardware finds out from the VMCS that it does."""
    while True:
        yield from vcpu_enter_guest(m, vcpu)
        vcpu.accessing = True
        exits = vcpu.exits
        yield APIC_ACCESS
        vcpu.accessing = False
        if vcpu.exits == exits:
            break
        m.vm_exit(vcpu)
    m.oracle.apic_page_used(m, vcpu)


def vcpu_enter_guest(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Deal with what was requested while, or by which, the vCPU was out of the guest. One that is in the guest has not
    heard of a flush, or of logging: it goes on as it is until it is thrown out."""
    if vcpu.kicked:
        m.vm_exit(vcpu)
    while is_asked(vcpu):
        if vcpu.free_obsolete_roots:  # kvm_check_request(KVM_REQ_MMU_FREE_OBSOLETE_ROOTS, vcpu)
            yield from kvm_mmu_free_obsolete_roots(m, vcpu)
        if vcpu.mmu_sync:  # kvm_check_request(KVM_REQ_MMU_SYNC, vcpu)
            vcpu.mmu_sync = False
            m.srcu.lock(m.actor)
            yield from kvm_mmu_sync_roots(m, vcpu, vcpu.root)
            m.srcu.unlock(m.actor)
        if vcpu.tlb_flush:  # kvm_check_request(KVM_REQ_TLB_FLUSH, vcpu)
            vcpu.tlb_flush = False
            vcpu.flush()
        if vcpu.apic_page_reload:  # kvm_check_request(KVM_REQ_APIC_PAGE_RELOAD, vcpu)
            yield from kvm_vcpu_reload_apic_access_page(m, vcpu)
        if vcpu.update_cpu_dirty_logging:  # kvm_check_request(KVM_REQ_UPDATE_CPU_DIRTY_LOGGING, vcpu)
            vmx_update_cpu_dirty_logging(m, vcpu)
        if vcpu.root is None:  # the inline part of kvm_mmu_reload(): nearly always there is a root
            yield from kvm_mmu_reload(m, vcpu)
        # kvm_vcpu_exit_request(): a request that came meanwhile is dealt with first.
        vcpu.outside_guest_mode = vcpu.tlb_flush or vcpu.update_cpu_dirty_logging
    m.oracle.guest_entered(m, vcpu)


def is_asked(vcpu: Vcpu) -> bool:
    """Has it anything to do before it runs the guest? Nearly always not."""
    return vcpu.outside_guest_mode or vcpu.free_obsolete_roots or vcpu.apic_page_reload or vcpu.kicked


def vmx_update_cpu_dirty_logging(m: Machine, vcpu: Vcpu) -> None:
    """vmx_update_cpu_dirty_logging(): PML is on while any slot logs. L2 never uses it, see hardware_access(), so that
    the VMCS of L1 may be changed while that of L2 is the current one."""
    vcpu.update_cpu_dirty_logging = False
    vcpu.pml_enabled = m.nr_memslots_dirty_logging > 0


def handle_ept_violation(
    m: Machine, vcpu: Vcpu, gfn: i64, write: bool, upgrade_fails: bool
) -> Generator[int, None, bool]:
    """Resolve the fault; True if the access was emulated, the guest gets the fault, KVM_RUN returns an error or SIGBUS
    tells the process of a memory error.

    Else the guest repeats it."""
    m.srcu.lock(m.actor)
    yield FAULT_ENTER
    fault = KvmPageFault(gfn, write, vcpu.fault_present, False, upgrade_fails)
    if m.gmem is not None:
        fault.is_private = m.kvm_mem_is_private(gfn)
    r = yield from kvm_mmu_do_page_fault(m, vcpu, fault)
    m.record(EV_PF, fault_outcome(fault, r))
    emulate = r in (RET_PF_EMULATE, RET_PF_WRITE_PROTECTED)
    if emulate and write:
        yield from emulate_write(m, vcpu, gfn)
    if m.sem.placebo_points:
        yield PLACEBO_EXIT
    # Of a poisoned page the fault is to be repeated, too, but SIGBUS is pending now and KVM_RUN returns to userspace.
    over = fault.injected or fault.pfn == KVM_PFN_ERR_HWPOISON
    yield FAULT_RETRY if r == RET_PF_RETRY and not over else FAULT_EXIT
    m.srcu.unlock(m.actor)
    return emulate or over or r < 0


def kvm_mmu_do_page_fault(m: Machine, vcpu: Vcpu, fault: KvmPageFault) -> Generator[int, None, int]:
    """kvm_tdp_page_fault(), or what vcpu->arch.mmu->page_fault points to. SRCU held."""
    if m.root_role_direct:
        return (yield from kvm_tdp_page_fault(m, vcpu, fault))
    return (yield from page_fault(m, vcpu, fault))


def fault_outcome(fault: KvmPageFault, r: int) -> i64:
    """The outcome as seen from outside. (The kernel's pf_fixed counts fast ones, too, and pf_fast spurious ones.)"""
    read_only = PF_READ_ONLY if fault.read_only else 0
    if r == RET_PF_FIXED:
        return PF_FAST if fault.fast else PF_FIXED | read_only
    if r == RET_PF_SPURIOUS:
        return PF_SPURIOUS | read_only
    if r < 0:
        return PF_ERROR
    if fault.injected:
        return PF_INJECTED
    if r == RET_PF_RETRY:
        return PF_FROZEN if fault.frozen else PF_RETRY
    if r == RET_PF_WRITE_PROTECTED:
        return PF_WRITE_PROTECTED
    return PF_EMULATE


def emulate_write(m: Machine, vcpu: Vcpu, gfn: i64) -> Generator[int, None, None]:
    """kvm_vcpu_write_guest(): a store through the host mapping, then the dirty bit, then, if it was to a guest page
    table, its shadow pages. SRCU held."""
    if not m.root_role_direct:
        # The emulator translates for itself; the guest's tables may say something else by now.
        walker = yield from walk_addr(m, vcpu, gfn, True)
        if walker is None:
            yield from kvm_inject_emulated_page_fault(m, vcpu, gfn)
            return
        gfn = walker.gfn
    slot = m.gfn_to_memslot(gfn)
    yield EMULATE
    if slot is None or slot.readonly or slot.invalid:
        return
    hva = slot.hva + gfn - slot.base_gfn
    allowed = yield from fault_in_user(m, hva, True)
    if not allowed:
        return
    m.host.pages[m.host.pte[hva]].data = m.uid + 1
    m.host.flags[hva] |= HOST_D
    m.host.reference[hva] = m.uid + 1
    if vcpu.store_index >= 0:
        m.host.words[hva * m.entries + vcpu.store_index] = vcpu.store_gpte
        m.oracle.gpte_write_begun(m, gfn, vcpu.store_index)
    if slot.log_dirty_pages:
        m.marking.append(gfn)
        yield EMULATE_MARK
        m.marking.remove(gfn)
        m.mark_page_dirty_in_slot(slot, gfn)
    if not m.root_role_direct:
        yield from kvm_mmu_track_write(m, gfn, vcpu.store_index)


def async_page_ready(m: Machine, vcpu: Vcpu, gfn: i64, write: bool, upgrade_fails: bool) -> Generator[int, None, None]:
    """kvm_arch_async_page_ready(): map a page that an asynchronous page fault has brought in, before the guest
    touches it. A fault with prefetch set; whatever comes of it is ignored."""
    vcpu.exits += 1
    m.vm_exit(vcpu)
    yield from kvm_mmu_reload(m, vcpu)
    m.srcu.lock(m.actor)
    yield FAULT_ENTER
    fault = KvmPageFault(gfn, write, False, True, upgrade_fails)
    r = yield from kvm_mmu_do_page_fault(m, vcpu, fault)
    m.record(EV_PF, fault_outcome(fault, r))
    yield FAULT_EXIT
    m.srcu.unlock(m.actor)


def nested_transition(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Enter or leave L2: another root role, so another root (kvm_init_mmu()). The kernel may keep the old one in
    prev_roots; here it is always dropped."""
    m.vm_exit(vcpu)
    vcpu.exits += 1
    if vcpu.root is not None:
        yield from kvm_mmu_free_roots(m, vcpu)
    vcpu.guest_mode = not vcpu.guest_mode
    if vcpu.reload_vmcs01_apic_access_page and not vcpu.guest_mode:  # __nested_vmx_vmexit()
        vcpu.reload_vmcs01_apic_access_page = False
        vcpu.apic_page_reload = True
    yield from vcpu_enter_guest(m, vcpu)


def invlpg(m: Machine, vcpu: Vcpu, addr: i64) -> Generator[int, None, None]:
    """The guest executes INVLPG; with shadow paging that exits."""
    yield from vcpu_enter_guest(m, vcpu)
    vcpu.exits += 1
    m.vm_exit(vcpu)
    m.oracle.guest_flush_begun(m, vcpu)
    m.srcu.lock(m.actor)
    yield from kvm_mmu_invalidate_addr(m, vcpu, addr)
    m.srcu.unlock(m.actor)
    m.oracle.guest_flush_ended(m, vcpu, addr, addr + 1)


def load_cr3(m: Machine, vcpu: Vcpu, cr3: i64) -> Generator[int, None, None]:
    """MOV to CR3: the same root is synchronized and flushed, another one loaded. For L2's EPT: INVEPT, then an entry
    with that EPTP, which drops the root in any case. The kernel may keep other roots in prev_roots; here they are
    always dropped."""
    m.vm_exit(vcpu)
    vcpu.exits += 1
    m.oracle.guest_flush_begun(m, vcpu)
    root = vcpu.root
    if root is not None and vcpu.cr3 == cr3 and not vcpu.guest_mode:
        m.srcu.lock(m.actor)
        yield from kvm_mmu_sync_roots(m, vcpu, root)
        m.srcu.unlock(m.actor)
        vcpu.flush()
    else:
        if root is not None:
            yield from kvm_mmu_free_roots(m, vcpu)
        vcpu.cr3 = cr3
    yield from vcpu_enter_guest(m, vcpu)
    m.oracle.guest_flush_ended(m, vcpu, 0, m.pages_per_hpage(m.levels + 1))
