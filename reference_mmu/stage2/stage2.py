# SPDX-License-Identifier: GPL-2.0-only
"""A machine with a stage-2 table, complete but for its fault handler: what the common code of virt/kvm/ asks of the
architecture, as most of them answer it. An architecture overrides what it does in another way, by the kernel's name."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.operations import start_common_operation
from ..kvm.vcpu import KvmVcpu
from ..operations import READ, WRITE, Call
from .aging import test_clear_young
from .fault import Fault
from .observed import ObservedStage2
from .points import SLOT_LOCK
from .table import unmap
from .vcpu import vcpu_access
from .write_protect import kvm_mmu_wp_memory_region, masked_range, write_protect


class Stage2(ObservedStage2):
    """mmu_lock for write around everything but faults; a flush of all that follows from a flag."""

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        if call.kind in (READ, WRITE):
            write = call.kind == WRITE
            return self.vcpu_access(self.vcpus[actor], Fault(call.a, write, not write and call.b != 0))
        return start_common_operation(self, call)

    def vcpu_access(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, None]:
        """One load or store of the guest, with as many exits as it takes."""
        return vcpu_access(self, vcpu, fault)

    # --- the notifier -------------------------------------------------------------------------------------------

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return unmap(self, gfn_range.start, gfn_range.end)

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        yield from ()
        return test_clear_young(self, gfn_range.start, gfn_range.end, True)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        yield from ()
        return test_clear_young(self, gfn_range.start, gfn_range.end, False)

    # --- memslots and the dirty log -----------------------------------------------------------------------------

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        """Whoever has no function of its own has flushed what it unmapped."""
        yield SLOT_LOCK
        self.write_lock()
        yield from self.kvm_unmap_gfn_range(KvmGfnRange(slot, slot.base_gfn, slot.end_gfn()))
        self.write_unlock()

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """Logging protects everything once, unless each CLEAR is to do that for what it clears."""
        if new is not None and new.log_dirty_pages and not self.dirty_log_initially_set:
            yield from kvm_mmu_wp_memory_region(self, new)

    def kvm_arch_sync_dirty_log(self) -> Generator[int, None, None]:
        """Hardware logs nothing by itself."""
        yield from ()

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        start, end = masked_range(slot, gfn_offset, mask)
        yield from self.write_protect(start, end)

    def write_protect(self, start: i64, end: i64) -> Generator[int, None, bool]:
        return write_protect(self, start, end)
