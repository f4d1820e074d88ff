# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU thread does: run the guest, handle its exits, prefetch (vcpu_run() in x86.c, handle_ept_violation())."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mypy_extensions import i64

from .fault import KvmPageFault, kvm_mmu_do_page_fault
from .gup import faultin_page
from .host import HOST_D
from .machine import (
    EV_PF,
    PF_EMULATE,
    PF_FAST,
    PF_FIXED,
    PF_FROZEN,
    PF_READ_ONLY,
    PF_RETRY,
    PF_SPURIOUS,
    PF_WRITE_PROTECTED,
)
from .memslots import gfn_to_memslot
from .points import EMULATE, FAULT_ENTER, FAULT_EXIT, FAULT_RETRY, PLACEBO_EXIT
from .ret_pf import RET_PF_EMULATE, RET_PF_FIXED, RET_PF_RETRY, RET_PF_SPURIOUS, RET_PF_WRITE_PROTECTED
from .roots import kvm_mmu_free_obsolete_roots, kvm_mmu_free_roots, kvm_mmu_reload
from .tlb import DONE, VIOLATION, hardware_access

if TYPE_CHECKING:
    from .machine import Machine
    from .tlb import Vcpu


def vcpu_access(m: Machine, vcpu: Vcpu, gfn: i64, write: bool, upgrade_fails: bool) -> Generator[int, None, None]:
    """One load or store of the guest, with as many exits as it takes."""
    while True:
        yield from vcpu_enter_guest(m, vcpu)
        vcpu.accessing = True
        result = yield from hardware_access(m, vcpu, gfn, write)
        vcpu.accessing = False
        if result == DONE:
            return
        m.vm_exit(vcpu)
        if result == VIOLATION:
            vcpu.invalidate(m, gfn)
            emulated = yield from handle_ept_violation(m, vcpu, gfn, write, upgrade_fails)
            if emulated:
                return


def vcpu_enter_guest(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Deal with what was requested while, or by which, the vCPU was out of the guest."""
    if vcpu.kicked:
        m.vm_exit(vcpu)
    yield from kvm_mmu_free_obsolete_roots(m, vcpu)
    yield from kvm_mmu_reload(m, vcpu)


def handle_ept_violation(
    m: Machine, vcpu: Vcpu, gfn: i64, write: bool, upgrade_fails: bool
) -> Generator[int, None, bool]:
    """Resolve the fault; True if the access was emulated, else the guest repeats it."""
    m.srcu.lock(m.actor)
    yield FAULT_ENTER
    fault = KvmPageFault(gfn, write, vcpu.fault_present, False, upgrade_fails)
    r = yield from kvm_mmu_do_page_fault(m, vcpu, fault)
    m.record(EV_PF, fault_outcome(fault, r))
    emulate = r in (RET_PF_EMULATE, RET_PF_WRITE_PROTECTED)
    if emulate and write:
        yield from emulate_write(m, gfn)
    if m.sem.placebo_points:
        yield PLACEBO_EXIT
    yield FAULT_RETRY if r == RET_PF_RETRY else FAULT_EXIT
    m.srcu.unlock(m.actor)
    return emulate


def fault_outcome(fault: KvmPageFault, r: int) -> i64:
    """The outcome as seen from outside. (The kernel's pf_fixed counts fast ones, too, and pf_fast spurious ones.)"""
    read_only = PF_READ_ONLY if fault.read_only else 0
    if r == RET_PF_FIXED:
        return PF_FAST if fault.fast else PF_FIXED | read_only
    if r == RET_PF_SPURIOUS:
        return PF_SPURIOUS | read_only
    if r == RET_PF_RETRY:
        return PF_FROZEN if fault.frozen else PF_RETRY
    if r == RET_PF_WRITE_PROTECTED:
        return PF_WRITE_PROTECTED
    return PF_EMULATE


def emulate_write(m: Machine, gfn: i64) -> Generator[int, None, None]:
    """kvm_vcpu_write_guest(): a store through the host mapping, then the dirty bit. SRCU held."""
    slot = gfn_to_memslot(m, gfn)
    yield EMULATE
    if slot is None or slot.readonly or slot.invalid:
        return
    hva = slot.hva + gfn - slot.base_gfn
    yield from faultin_page(m, hva, True)
    m.host.pages[m.host.pte[hva]].data = m.uid + 1
    m.host.flags[hva] |= HOST_D
    m.host.reference[hva] = m.uid + 1
    m.mark_page_dirty_in_slot(slot, gfn)


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
    yield from vcpu_enter_guest(m, vcpu)
