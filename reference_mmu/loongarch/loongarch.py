# SPDX-License-Identifier: GPL-2.0-only
"""A machine of LoongArch, complete: what the common code asks of the architecture (arch/loongarch/kvm/mmu.c).

Left out: that the tables of a slot are freed when it is.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.flush import kvm_flush_remote_tlbs
from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.vcpu import KvmVcpu
from ..oracle import Oracle
from ..stage2.aging import is_young
from ..stage2.fault import Fault
from ..stage2.points import SLOT_FLUSH, SLOT_LOCK, WP_FLUSH, WP_LOCK
from ..stage2.stage2 import Stage2
from ..stage2.table import unmap
from ..stage2.write_protect import write_protect
from .fault import kvm_handle_mm_fault
from .points import POINTS


class Loongarch(Stage2):
    """mmu_lock is exclusive, for faults, too; software sets every young bit, and a TLB miss walks all the table."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        self.flush_owed = False
        super().__init__(config, POINTS, sem, actors, operations, oracle)
        self.hardware_young = False

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvm_handle_mm_fault(self, vcpu, fault)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Of a range the first gfn alone."""
        yield from ()
        return is_young(self, gfn_range.start)

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        """kvm_flush_range(): the flush follows mmu_lock."""
        yield SLOT_LOCK
        self.write_lock()
        self.flush_owed = True
        flush = yield from unmap(self, slot.base_gfn, slot.end_gfn())
        self.write_unlock()
        self.flush_owed = False
        if flush:
            yield from kvm_flush_remote_tlbs(self, SLOT_FLUSH)

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """Every entry is made clean once; the flush follows if one was dirty."""
        if new is None or not new.log_dirty_pages or self.dirty_log_initially_set:
            return
        yield WP_LOCK
        self.write_lock()
        changed = yield from write_protect(self, new.base_gfn, new.end_gfn())
        self.write_unlock()
        if changed:
            yield from kvm_flush_remote_tlbs(self, WP_FLUSH)

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        """Of pages those in the mask alone are made clean."""
        gfn = slot.base_gfn + gfn_offset
        while mask != 0:
            if mask & 1 != 0:
                yield from write_protect(self, gfn, gfn + 1)
            gfn += 1
            mask >>= 1

    def faults_from_tlb(self) -> bool:
        """A store to a clean entry traps."""
        return True

    def table_walk_is_cached(self) -> bool:
        return False

    def flushes_later(self) -> bool:
        return self.flush_owed
