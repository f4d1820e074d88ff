# SPDX-License-Identifier: GPL-2.0-only
"""The judge of an x86 machine: all that every machine is judged by, and shadowed page tables of the guest."""

from __future__ import annotations

from typing import Final, cast

from mypy_extensions import i64

from fuzzer.oracle.guest_tables import GuestTables
from fuzzer.oracle.judge import Judge
from reference_mmu.kvm.vcpu import KvmVcpu
from reference_mmu.kvm.vm import Vm
from reference_mmu.x86.observed_mmu import ObservedMmu

# The WARN that tdp-fault-warn-flush-mmuw adds on purpose: an effect of that patch, not a violation.
ANNOUNCED_WARN: Final = "tdp_mmu_map: fault cleared MMU_WRITABLE"


class X86Judge(Judge):
    """All oracles of one x86 machine."""

    def __init__(self) -> None:
        super().__init__()
        self.guest_tables = GuestTables(self.reports)

    def attach(self, m: Vm) -> None:
        self.guest_tables.attach(cast(ObservedMmu, m))
        super().attach(m)

    def mmu_unlocking(self, m: Vm) -> None:
        super().mmu_unlocking(m)
        x86 = cast(ObservedMmu, m)
        if x86.indirect_shadow_pages:
            self.guest_tables.mmu_unlocking(x86)

    def discarded(self, m: Vm, hva: i64) -> None:
        super().discarded(m, hva)
        self.guest_tables.discarded(cast(ObservedMmu, m), hva)

    def gpte_written(self, m: Vm, hva: i64, index: i64) -> None:
        self.guest_tables.written(cast(ObservedMmu, m), hva, index)

    def gpte_write_begun(self, m: Vm, gfn: i64, index: i64) -> None:
        self.guest_tables.write_begun(cast(ObservedMmu, m), gfn, index)

    def gpte_write_emulated(self, m: Vm, gfn: i64, index: i64) -> None:
        self.guest_tables.write_emulated(cast(ObservedMmu, m), gfn, index)

    def guest_flush_begun(self, m: Vm, vcpu: KvmVcpu) -> None:
        self.guest_tables.flush_begins(vcpu)

    def guest_flush_ended(self, m: Vm, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        self.guest_tables.flush_ends(cast(ObservedMmu, m), vcpu, first, end)

    def warned(self, m: Vm, text: str) -> None:
        if text != ANNOUNCED_WARN:
            super().warned(m, text)
