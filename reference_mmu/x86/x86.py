# SPDX-License-Identifier: GPL-2.0-only
"""A machine of x86, complete: what the common code of virt/kvm/ asks of the architecture (arch/x86/kvm/x86.c,
mmu/mmu.c), and what an observer may ask."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..operations import Call
from .aging import kvm_age_gfn
from .dirty_log import (
    kvm_arch_mmu_enable_log_dirty_pt_masked,
    kvm_arch_sync_dirty_log,
    kvm_mmu_slot_apply_flags,
)
from .lpage_info import alloc_lpage_info
from .observed_mmu import ObservedMmu
from .operations import start_operation
from .unmap import kvm_unmap_gfn_range
from .write_protect import kvm_page_track_free_memslot
from .zap_all_fast import kvm_arch_flush_shadow_memslot


class X86(ObservedMmu):
    """What the kernel declares in kvm_host.h for every architecture, as x86 has it."""

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return kvm_unmap_gfn_range(self, gfn_range)

    def kvm_arch_pre_set_memory_attributes(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Whatever the slot may be: what is about to be private must no longer be reached as shared memory."""
        return kvm_unmap_gfn_range(self, gfn_range)

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return kvm_age_gfn(self, gfn_range.start, gfn_range.end, False)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return kvm_age_gfn(self, gfn_range.start, gfn_range.end, True)

    def elides_tlb_flush_if_young(self) -> bool:
        return self.sem.age_elides_tlb_flush

    def kvm_arch_prepare_memory_region(self, slot: KvmMemorySlot) -> None:
        alloc_lpage_info(self, slot)

    def kvm_arch_free_memslot(self, slot: KvmMemorySlot) -> None:
        kvm_page_track_free_memslot(self, slot)

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        return kvm_arch_flush_shadow_memslot(self, slot)

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        return kvm_mmu_slot_apply_flags(self, old, new)

    def kvm_arch_sync_dirty_log(self) -> Generator[int, None, None]:
        return kvm_arch_sync_dirty_log(self)

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        return kvm_arch_mmu_enable_log_dirty_pt_masked(self, slot, gfn_offset, mask)

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        return start_operation(self, actor, call)

    def can_lock_mmu(self) -> bool:
        """The TDP MMU finds and drops roots as a reader."""
        return self.mmu_lock.state >= 0 if self.tdp_mmu_enabled else self.mmu_lock.state == 0
