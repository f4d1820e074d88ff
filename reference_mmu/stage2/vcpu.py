# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU thread does: run the guest, and handle its exits (kvm_arch_vcpu_ioctl_run())."""

from __future__ import annotations

from collections.abc import Generator

from ..kvm.vcpu import KvmVcpu
from ..observed import EV_PF, PF_EMULATE, PF_ERROR, PF_INJECTED, PF_RETRY
from ..points import FAULT_ENTER, FAULT_RETRY
from .fault import Fault
from .machine import Stage2Machine
from .points import FAULT_EXIT, PLACEBO_EXIT
from .tlb import DONE, FAULTED, hardware_access


def vcpu_access(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, None]:
    """One load or store of the guest, through a TLB that hardware fills."""
    while True:
        m.oracle.guest_entered(m, vcpu)
        vcpu.accessing = True
        result = yield from hardware_access(m, vcpu, fault)
        vcpu.accessing = False
        if result == DONE:
            return
        if result == FAULTED:
            over = yield from handle_exit(m, vcpu, fault)
            if over:
                return


def handle_exit(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, bool]:
    """Handle a fault; True if the access is over: emulated as MMIO by userspace, or an error for userspace or for the
    guest itself."""
    m.srcu.lock(m.actor)
    yield FAULT_ENTER
    outcome = yield from m.handle_fault(vcpu, fault)
    m.record(EV_PF, outcome)
    if m.sem.placebo_points:
        yield PLACEBO_EXIT
    yield FAULT_RETRY if outcome == PF_RETRY else FAULT_EXIT
    m.srcu.unlock(m.actor)
    return outcome in (PF_EMULATE, PF_ERROR, PF_INJECTED)
