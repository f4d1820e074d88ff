# SPDX-License-Identifier: GPL-2.0-only
"""A machine with an APIC access page, over one kind of memory."""

from __future__ import annotations

from typing import Any

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.mm.page import Page
from reference_mmu.x86.apic_access_page import create_lapic
from reference_mmu.x86.vcpu import access_apic
from reference_mmu.x86.vcpu_arch import Vcpu
from tests.by_hand import Stage, Thread

GFN = 20
HVA = 8


class ApicStage(Stage):
    """The page's memory is the first page of a block of its own."""

    def __init__(self, semantics: Semantics = NEW, kind: str = "untouched", **config: Any) -> None:
        super().__init__(semantics, backing=("anon", "anon", kind), apic_page=SlotConfig(GFN, 1, HVA), **config)

    def vcpu(self, number: int = 0) -> Vcpu:
        return self.m.x86_vcpus[number]

    def create(self, vcpu: int = 0) -> Thread:
        return self.run(vcpu, create_lapic(self.m, self.vcpu(vcpu)))

    def use(self, vcpu: int = 0) -> Thread:
        """The guest uses its APIC, not yet begun."""
        return self.thread(vcpu, access_apic(self.m, self.vcpu(vcpu)))

    @property
    def pfn(self) -> int:
        """What the host has at the page's address, a PTE_* if it has nothing there."""
        return int(self.m.host.pte[HVA])

    @property
    def page(self) -> Page:
        return self.m.host.pages[self.pfn]

    def loaded(self, vcpu: int = 0) -> bool:
        """Does the VMCS of the vCPU point to the page that the host has there?"""
        return self.pfn >= 0 and int(self.vcpu(vcpu).apic_access_addr) == self.pfn


def ready(semantics: Semantics = NEW, kind: str = "untouched", **config: Any) -> ApicStage:
    """vCPU 0 has its APIC and has used it."""
    stage = ApicStage(semantics, kind, **config)
    stage.create()
    stage.use().finish()
    return stage
