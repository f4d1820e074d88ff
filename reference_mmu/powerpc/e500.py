# SPDX-License-Identifier: GPL-2.0-only
"""An e500 machine: the guest manages its own TLB, KVM the real one (arch/powerpc/kvm/e500_mmu.c, e500.c).

The guest maps each gfn at its own address, for reading and writing: vCPU 0 by entries of TLB1, as large as a huge page,
the others by entries of TLB0, of one page.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.memslots import KvmGfnRange
from ..kvm.vcpu import KvmVcpu
from ..oracle import Oracle
from ..stage2.fault import Fault
from .e500_mmu_host import kvmppc_mmu_map
from .points import POINTS
from .software_tlb import SoftwareTlb

BLOCKS_BY_TLB1: Final = 0
"""The vCPU whose guest code uses TLB1."""


class E500Vcpu(KvmVcpu):
    """`tlb_flush`: KVM_REQ_TLB_FLUSH is set."""

    def __init__(self, number: i64) -> None:
        super().__init__(number)
        self.tlb_flush = False


class E500(SoftwareTlb):
    """An invalidation does not look for what it has to take away: every vCPU drops everything before it enters."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        self.e500_vcpus: list[E500Vcpu] = []
        super().__init__(config, POINTS, sem, actors, operations, oracle)

    def make_vcpu(self, number: i64) -> KvmVcpu:
        vcpu = E500Vcpu(number)
        self.e500_vcpus.append(vcpu)
        return vcpu

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvmppc_mmu_map(self, vcpu, fault, vcpu.number == BLOCKS_BY_TLB1)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """kvm_unmap_gfn_range(): the caller flushes."""
        yield from ()
        return True

    def flush_all(self) -> None:
        """The request throws the vCPU out of the guest, and stays set until it enters again: what it writes to its TLB
        before that goes, too."""
        for vcpu in self.e500_vcpus:
            vcpu.tlb_flush = True
        super().flush_all()

    def check_requests(self, vcpu: KvmVcpu) -> None:
        e500 = self.e500_vcpus[vcpu.number]
        if e500.tlb_flush:
            e500.tlb_flush = False
            e500.flush()

    def takes_requests(self) -> bool:
        return True

    def usable(self, vcpu: KvmVcpu) -> bool:
        return not self.e500_vcpus[vcpu.number].tlb_flush
