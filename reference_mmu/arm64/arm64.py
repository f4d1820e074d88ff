# SPDX-License-Identifier: GPL-2.0-only
"""A machine of arm64, complete: what the common code asks of the architecture (arch/arm64/kvm/mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.page_table import PageTable
from ..kvm.vcpu import KvmVcpu
from ..operations import COPY_TAGS, FETCH, Call
from ..stage2.fault import Fault
from ..stage2.write_protect import kvm_mmu_wp_memory_region, masked_range
from .fault import kvm_handle_guest_abort, kvm_is_device_pfn
from .guest import kvm_vm_ioctl_mte_copy_tags
from .machine import Arm64Machine
from .mmu import stage2_wp_range, unmap_stage2_range
from .points import SPLIT_LOCK
from .split import kvm_mmu_split_huge_pages


class Arm64(Arm64Machine):
    """Faults are readers of mmu_lock; TLBs are flushed by range, on the spot, and without an exit."""

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        if call.kind == FETCH:
            fault = Fault(call.a, False, False)
            fault.fetch = True
            return self.vcpu_access(self.vcpus[actor], fault)
        if call.kind == COPY_TAGS:
            return kvm_vm_ioctl_mte_copy_tags(self, call.a, call.b != 0)
        return super().start(actor, call)

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvm_handle_guest_abort(self, vcpu, fault)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Nothing is left to flush."""
        yield from unmap_stage2_range(self, gfn_range.start, gfn_range.end)
        return False

    def write_protect(self, start: i64, end: i64) -> Generator[int, None, bool]:
        return stage2_wp_range(self, start, end)

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """Blocks are split where they are protected: of the whole slot, or later of what each CLEAR clears."""
        if new is None or not new.log_dirty_pages:
            self.split_page_cache = 0
        elif not self.dirty_log_initially_set:
            yield from kvm_mmu_wp_memory_region(self, new)
            if self.eager_page_split:
                yield SPLIT_LOCK
                self.write_lock()
                yield from kvm_mmu_split_huge_pages(self, new.base_gfn, new.end_gfn())
                self.write_unlock()

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        start, end = masked_range(slot, gfn_offset, mask)
        yield from self.write_protect(start, end)
        if self.dirty_log_initially_set:
            yield from kvm_mmu_split_huge_pages(self, start, end)

    def may_execute(self, pfn: i64) -> bool:
        """All but device memory: with coherent caches (ARM64_HAS_CACHE_DIC) whatever is mapped may be executed."""
        return not kvm_is_device_pfn(self, pfn)

    def faults_from_tlb(self) -> bool:
        """A permission fault may come from a TLB entry that is older than the leaf."""
        return True

    def flush_range(self, first: i64, end: i64) -> None:
        """A broadcast TLBI: CPUs stay in the guest, but repeat the walk they are in."""
        self.drop_everywhere(first, end)

    def locks_allow_store(self, sp: PageTable, here: i64) -> bool:
        """A shared walk needs RCU beside mmu_lock: another one may free the table that it is in."""
        held = self.mmu_lock.held[self.actor] != 0
        return held and (self.mmu_lock.state < 0 or self.rcu.inside[self.actor] != 0)

    def unlinked_is_owed(self, sp: PageTable) -> bool:
        """Break before make: by the end of the RCU section the TLBI has completed."""
        return True
