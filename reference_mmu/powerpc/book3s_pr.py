# SPDX-License-Identifier: GPL-2.0-only
"""Machines in PR mode: the guest runs as a user process, whose hashed page table KVM fills (book3s_pr.c and
book3s_mmu_hpte.c in arch/powerpc/kvm/). The guest maps each gfn at its own address, for reading and writing.

The dirty log has one bit for each entry that was made writable, whether or not the guest has written; all entries of a
memslot are dropped when it is read. Nothing is dropped when logging begins: kvmppc_core_commit_memory_region_pr() is
empty, and so what was writable before is written unseen.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.dirty_log import read_bitmap, return_dirty_log, user_copy
from ..kvm.memslot_update import id_to_memslot
from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.vcpu import KvmVcpu
from ..operations import GET_LOG, PATCH_DCBZ, Call
from ..oracle import Oracle
from ..points import SLOTS_LOCK
from ..stage2.fault import PERMISSION_FAULT, Fault
from .book3s_32_mmu_host import kvmppc_mmu_map_page as kvmppc_mmu_map_page_32
from .book3s_64_mmu_host import kvmppc_mmu_map_page
from .dcbz import kvmppc_patch_dcbz
from .points import GET_CLEAR, GET_PFLUSH, POINTS, PR_PFLUSH
from .software_tlb import SoftwareTlb


class Book3sPr(SoftwareTlb):
    """64 bits."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        if call.kind == PATCH_DCBZ:
            return kvmppc_patch_dcbz(self, call.a)
        if call.kind == GET_LOG:
            return self.kvm_vm_ioctl_get_dirty_log_pr(call.a)
        return super().start(actor, call)

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        """kvmppc_handle_pagefault(): an entry that allows too little goes first (kvmppc_mmu_unmap_page())."""
        if fault.kind == PERMISSION_FAULT:
            self.kvmppc_mmu_pte_pflush(vcpu, fault.gfn, fault.gfn + 1)
        return self.map_page(vcpu, fault)

    def map_page(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        """kvmppc_mmu_map_page() of the kernel's bits. Returns PF_*."""
        return kvmppc_mmu_map_page(self, vcpu, fault)

    def map_tlb(self, vcpu: KvmVcpu, gfn: i64, level: i64, pfn: i64, writable: bool) -> None:
        """hpte_insert(): an entry takes a place that is free. Hardware uses the first one that fits, so beside an older
        one of the same address a new one is of no use."""
        if vcpu.tlb.find(self.tlb_key(gfn, level)) < 0:
            super().map_tlb(vcpu, gfn, level, pfn, writable)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """do_kvm_unmap_gfn(): vCPU by vCPU, and nothing is left to flush."""
        for vcpu in self.vcpus:
            yield PR_PFLUSH
            self.kvmppc_mmu_pte_pflush(vcpu, gfn_range.start, gfn_range.end)
        return False

    def kvmppc_mmu_pte_pflush(self, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        """Drop the entries of a range, from the hashed table and from TLBs."""
        self.drop(vcpu, first, end)

    # --- the dirty log ------------------------------------------------------------------------------------------

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        yield from ()

    def kvm_vm_ioctl_get_dirty_log_pr(self, number: i64) -> Generator[int, None, None]:
        """KVM_GET_DIRTY_LOG; then userspace copies what was reported. The bitmap is copied first and cleared last, so
        what a fault logs in between is lost. Without mmu_lock."""
        yield SLOTS_LOCK
        self.slots_lock = True
        slot = id_to_memslot(self, number)
        if slot is None or not slot.log_dirty_pages:
            self.slots_lock = False
            return
        self.oracle.harvest_begun(self)
        reported = read_bitmap(self, slot)
        if reported:
            for vcpu in self.vcpus:
                yield GET_PFLUSH
                self.kvmppc_mmu_pte_pflush(vcpu, slot.base_gfn, slot.end_gfn())
            yield GET_CLEAR
            for word in range(len(slot.dirty_bitmap)):
                slot.dirty_bitmap[word] = 0
        return_dirty_log(self, slot, reported)
        yield from user_copy(self, slot, reported)


class Book3sPr32(Book3sPr):
    """32 bits. `unlisted`: (vCPU, gfn) of entries in the hashed table that KVM has no record of."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        self.unlisted: list[tuple[int, int]] = []
        super().__init__(config, sem, actors, operations, oracle)

    def map_tlb(self, vcpu: KvmVcpu, gfn: i64, level: i64, pfn: i64, writable: bool) -> None:
        """An entry without a record is taken for evicted when its address is mapped anew."""
        vcpu.tlb.drop(self.tlb_key(gfn, level))
        super().map_tlb(vcpu, gfn, level, pfn, writable)

    def map_page(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvmppc_mmu_map_page_32(self, vcpu, fault, self.unlisted)

    def kvmppc_mmu_pte_pflush(self, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        for gfn in range(first, end):
            if (int(vcpu.number), int(gfn)) not in self.unlisted:
                self.drop(vcpu, gfn, gfn + 1)
