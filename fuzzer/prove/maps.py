# SPDX-License-Identifier: GPL-2.0-only
"""Equivalences about guest memory that KVM maps for itself, or looks up for itself."""

from __future__ import annotations

from typing import Final

from fuzzer.prove.equivalences import lockstep
from fuzzer.prove.inputs import run
from fuzzer.prove.sweep import Sweep
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.kvm.vcpu_map import KvmHostMap, kvm_vcpu_map, kvm_vcpu_unmap
from reference_mmu.oracle import Oracle
from reference_mmu.x86.x86 import X86

_MAPS: Final = (lockstep("vcpu-map"),)

MAP_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "vcpu-map-drop-null-map-check": _MAPS,
    "vcpu-map-null-page-for-memremap": _MAPS,
    "vcpu-map-follow-pfn": _MAPS,
    "vcpu-map-writable-at-map-time": _MAPS,
    "nvmx-vmcs12-maps": _MAPS,
    "nvmx-evmcs-unmap-unconditional": _MAPS,
}
"""By patch, as SWEEPS in equivalences.py."""


def references_after_a_failed_map(sem: Semantics) -> int:
    """How many references KVM holds to a page when it has mapped and unmapped it, and then, with what that left on the
    stack for a map, tried to map what no memslot has and unmapped that although it had failed. -1: one too few."""
    m = X86(Config(), sem, 1, 1, Oracle())
    stack = KvmHostMap()
    m.srcu.lock(0)
    run(kvm_vcpu_map(m, 0, stack))
    left = KvmHostMap()
    left.page, left.hva, left.pfn, left.pinned_page = stack.page, stack.hva, stack.pfn, stack.pinned_page
    kvm_vcpu_unmap(m, stack, False)
    run(kvm_vcpu_map(m, Config().hva_pages, left))
    kvm_vcpu_unmap(m, left, False)
    page = m.host.pages[m.host.pte[0]]
    return int(page.kvm_refs + page.kvm_pins)
