# SPDX-License-Identifier: GPL-2.0-only
"""The pages of L1 that KVM maps while L2 runs: those that vmcs12 names, and the enlightened VMCS of Hyper-V
(arch/x86/kvm/vmx/nested.c).

In which root L2 runs is not the subject here: that is nested_transition() in x86/vcpu.py.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64, mypyc_attr

from ...kvm.vcpu_map import KvmHostMap, kvm_vcpu_map, kvm_vcpu_unmap, use_mapped_page
from ..machine import Machine
from ..points import L2_EXIT, L2_RUN


@mypyc_attr(acyclic=True)
class NestedMaps:
    """The maps in struct nested_vmx, and whether an enlightened VMCS is in use (evmptr_is_valid()). The PI descriptor
    is mapped and unmapped like the virtual APIC page."""

    def __init__(self) -> None:
        self.hv_evmcs_map = KvmHostMap()
        self.evmptr_is_valid = False
        self.apic_access_page_map = KvmHostMap()
        self.virtual_apic_map = KvmHostMap()


def run_l2(m: Machine, apic_access: i64, virtual_apic: i64, evmcs: i64) -> Generator[int, None, None]:
    """L1 enters L2, whose vmcs12 is enlightened and names an APIC access page and a virtual APIC page; L2 writes to
    both, and exits to L1, which gives up its VMCS."""
    nested = NestedMaps()
    m.srcu.lock(m.actor)
    entered = yield from nested_vmx_run(m, nested, apic_access, virtual_apic, evmcs)
    if entered:
        m.srcu.unlock(m.actor)
        yield L2_RUN
        for host_map in (nested.apic_access_page_map, nested.virtual_apic_map):
            if host_map.is_mapped():
                use_mapped_page(m, host_map, True)
        yield L2_EXIT
        m.srcu.lock(m.actor)
        nested_vmx_vmexit(m, nested)
    nested_release_evmcs(m, nested)
    m.srcu.unlock(m.actor)


def nested_vmx_run(
    m: Machine, nested: NestedMaps, apic_access: i64, virtual_apic: i64, evmcs: i64
) -> Generator[int, None, bool]:
    """nested_vmx_run(), as far as it maps pages of L1. False: L2 is not entered."""
    r = yield from kvm_vcpu_map(m, evmcs, nested.hv_evmcs_map)
    if r != 0:
        return False
    nested.evmptr_is_valid = True
    return (yield from nested_get_vmcs12_pages(m, nested, apic_access, virtual_apic))


def nested_get_vmcs12_pages(
    m: Machine, nested: NestedMaps, apic_access: i64, virtual_apic: i64
) -> Generator[int, None, bool]:
    """nested_get_vmcs12_pages(): without its APIC access page L2 cannot run (an internal error ends KVM_RUN); without
    its virtual APIC page it runs with no TPR shadow."""
    r = yield from kvm_vcpu_map(m, apic_access, nested.apic_access_page_map)
    if r != 0:
        return False
    yield from kvm_vcpu_map(m, virtual_apic, nested.virtual_apic_map)
    return True


def nested_vmx_vmexit(m: Machine, nested: NestedMaps) -> None:
    """__nested_vmx_vmexit(): one of several ways out of L2."""
    if m.sem.nvmx_vmcs12_maps:
        nested_put_vmcs12_pages(m, nested)
    else:
        kvm_vcpu_unmap(m, nested.apic_access_page_map, False)
        kvm_vcpu_unmap(m, nested.virtual_apic_map, True)


def nested_put_vmcs12_pages(m: Machine, nested: NestedMaps) -> None:
    """nested_put_vmcs12_pages()"""
    kvm_vcpu_unmap(m, nested.apic_access_page_map, m.sem.nvmx_apic_access_page_dirty)
    kvm_vcpu_unmap(m, nested.virtual_apic_map, True)


def nested_release_evmcs(m: Machine, nested: NestedMaps) -> None:
    """nested_release_evmcs(): L1 gives up its enlightened VMCS, if it ever had one."""
    if m.sem.nvmx_evmcs_unmap_unconditional or nested.evmptr_is_valid:
        kvm_vcpu_unmap(m, nested.hv_evmcs_map, True)
    nested.evmptr_is_valid = False
