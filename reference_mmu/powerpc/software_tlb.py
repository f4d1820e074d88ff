# SPDX-License-Identifier: GPL-2.0-only
"""An MMU without a table that hardware walks: what the guest may use is what KVM has put into its vCPU's TLB.

On e500 that is the hardware's own TLB, in which a miss is an exit; in PR mode it is the vCPU's part of the host's hash
table together with the TLB that hardware fills from it. Nothing is ever pushed out for want of room.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.flow import at_once
from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.tlb import lookup
from ..kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_R, TLB_W, KvmVcpu
from ..stage2.fault import PERMISSION_FAULT, TRANSLATION_FAULT, Fault
from ..stage2.stage2 import Stage2
from ..stage2.vcpu import handle_exit
from .points import E500_ENTER


class SoftwareTlb(Stage2):
    """The table of Stage2 stays empty."""

    def vcpu_access(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, None]:
        return vcpu_access(self, vcpu, fault)

    def check_requests(self, vcpu: KvmVcpu) -> None:
        """What was asked of the vCPU while it was out of the guest, done before it enters."""

    def takes_requests(self) -> bool:
        """Are there any? Then somebody may come in between that look and what the vCPU does in the guest."""
        return False

    def map_tlb(self, vcpu: KvmVcpu, gfn: i64, level: i64, pfn: i64, writable: bool) -> None:
        """Let the vCPU use the page or block around gfn, which begins at `pfn`."""
        rights = TLB_R | TLB_D | TLB_W if writable else TLB_R | TLB_D
        vcpu.tlb.put(self.tlb_key(gfn, level), rights | pfn << TLB_PFN_SHIFT)
        self.oracle.tlb_filled(self, gfn, level, pfn, writable)

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Nobody knows."""
        return at_once(False)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return at_once(False)

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        """kvmppc_core_flush_memslot() is empty here: what is mapped of a slot outlives it."""
        yield from ()


def vcpu_access(m: SoftwareTlb, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, None]:
    """One load or store of the guest, through a TLB that KVM fills."""
    while True:
        m.check_requests(vcpu)
        m.oracle.guest_entered(m, vcpu)
        if m.takes_requests():
            yield E500_ENTER
        entry = lookup(m, vcpu, fault.gfn)
        if entry != 0 and (not fault.write or (entry & TLB_W) != 0):
            m.guest_access(vcpu, fault.gfn, entry >> TLB_PFN_SHIFT, fault.write)
            return
        fault.kind = PERMISSION_FAULT if entry != 0 else TRANSLATION_FAULT
        over = yield from handle_exit(m, vcpu, fault)
        if over:
            return
