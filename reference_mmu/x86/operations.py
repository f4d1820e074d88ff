# SPDX-License-Identifier: GPL-2.0-only
"""Which flow of the model each operation is on x86."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.guest_memfd import kvm_gmem_memory_failure, kvm_gmem_punch_hole
from ..kvm.mem_attributes import kvm_vm_set_mem_attributes
from ..kvm.operations import start_common_operation
from ..kvm.pfncache import kvm_gpc_refresh
from ..operations import (
    ACCESS_APIC,
    CREATE_LAPIC,
    INVLPG,
    LOAD_CR3,
    NESTED,
    POISON_PRIVATE,
    PREFETCH,
    PUNCH_HOLE,
    READ,
    REFRESH_CACHE,
    RUN_L2,
    SET_ATTRIBUTES,
    STORED_ACCESSED,
    STORED_DIRTY,
    STORED_EXECUTABLE,
    STORED_SHIFT,
    STORED_WRITABLE,
    TRACK,
    UNTRACK,
    WRITE,
    WRITE_PTE,
    ZAP_RANGE,
    Call,
)
from .apic_access_page import create_lapic
from .machine import Machine
from .shadow_mmu.gpte import make_gpte
from .vcpu import access_apic, async_page_ready, invlpg, load_cr3, nested_transition, vcpu_access, vcpu_write_gpte
from .vcpu_arch import Vcpu
from .vmx.nested import run_l2
from .write_protect import kvm_write_track_add_gfn, kvm_write_track_remove_gfn
from .zap_range import kvm_zap_gfn_range


def start_operation(m: Machine, actor: i64, call: Call) -> Generator[int, None, object]:
    """Kvm.start() of x86."""
    kind = call.kind
    if kind <= LOAD_CR3:
        return _start_vcpu_operation(m, m.x86_vcpus[actor], call)
    if kind == TRACK:
        return kvm_write_track_add_gfn(m, call.a)
    if kind == UNTRACK:
        return kvm_write_track_remove_gfn(m, call.a)
    if kind == ZAP_RANGE:
        return kvm_zap_gfn_range(m, call.a, call.a + call.b)
    if kind == RUN_L2:
        return run_l2(m, call.a, call.b, call.c)
    if kind == PUNCH_HOLE:
        return kvm_gmem_punch_hole(m, call.a, call.b)
    if kind == POISON_PRIVATE:
        return kvm_gmem_memory_failure(m, call.a)
    if kind == SET_ATTRIBUTES:
        return kvm_vm_set_mem_attributes(m, call.a, call.a + call.b, call.c != 0)
    if kind == REFRESH_CACHE:
        return kvm_gpc_refresh(m, call.a)
    if kind == CREATE_LAPIC:
        return create_lapic(m, m.x86_vcpus[actor])
    if kind == ACCESS_APIC:
        return access_apic(m, m.x86_vcpus[actor])
    return start_common_operation(m, call)


def _start_vcpu_operation(m: Machine, vcpu: Vcpu, call: Call) -> Generator[int, None, object]:
    kind, a, b, c = call.kind, call.a, call.b, call.c
    if kind == READ:
        return vcpu_access(m, vcpu, a, False, b != 0)
    if kind == WRITE:
        return vcpu_access(m, vcpu, a, True, False)
    if kind == PREFETCH:
        return async_page_ready(m, vcpu, a, c != 0, b != 0)
    if kind == NESTED:
        return nested_transition(m, vcpu)
    if kind == WRITE_PTE:
        return vcpu_write_gpte(m, vcpu, a, b, gpte_stored(c))
    if kind == INVLPG:
        return invlpg(m, vcpu, a)
    return load_cr3(m, vcpu, a)


def gpte_stored(stored: i64) -> i64:
    """The entry of the guest's page table that the argument stands for."""
    gfn = (stored >> STORED_SHIFT) - 1
    if gfn < 0:
        return 0
    return make_gpte(
        gfn,
        stored & STORED_WRITABLE != 0,
        stored & STORED_EXECUTABLE != 0,
        stored & STORED_ACCESSED != 0,
        stored & STORED_DIRTY != 0,
    )
