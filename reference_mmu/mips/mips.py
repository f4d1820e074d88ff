# SPDX-License-Identifier: GPL-2.0-only
"""A machine of MIPS, complete: what the common code asks of the architecture (arch/mips/kvm/mmu.c, mips.c).

Left out: that a table is freed when all that it translates is unmapped.
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
from ..stage2.aging import is_young, test_clear_young
from ..stage2.fault import Fault
from ..stage2.points import SLOT_FLUSH, SLOT_LOCK, WP_FLUSH, WP_LOCK
from ..stage2.stage2 import Stage2
from ..stage2.table import unmap
from ..stage2.write_protect import write_protect
from .fault import kvm_mips_handle_vz_root_tlb_fault
from .points import POINTS


class Mips(Stage2):
    """mmu_lock is exclusive, for faults, too; software sets every young bit and fills every TLB.

    Ranges are walked up to and including their end. The notifier's, whose end is exclusive, are one gfn longer here.
    """

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)
        self.hardware_young = False

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return kvm_mips_handle_vz_root_tlb_fault(self, vcpu, fault)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Whatever was there, a flush is asked for."""
        yield from unmap(self, gfn_range.start, self.after(gfn_range.end))
        return True

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        yield from ()
        return test_clear_young(self, gfn_range.start, self.after(gfn_range.end), True)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Of a range the first gfn alone."""
        yield from ()
        return is_young(self, gfn_range.start)

    def after(self, gfn: i64) -> i64:
        """The end of a range that includes gfn, as far as the table goes."""
        return min(gfn + 1, self.pages_per_hpage(self.levels + 1))

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        yield SLOT_LOCK
        self.write_lock()
        yield from unmap(self, slot.base_gfn, slot.end_gfn())
        yield from kvm_flush_remote_tlbs(self, SLOT_FLUSH)
        self.write_unlock()

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """Every entry is made clean once; one that was dirty is flushed before mmu_lock is released."""
        if new is None or not new.log_dirty_pages or self.dirty_log_initially_set:
            return
        yield WP_LOCK
        self.write_lock()
        changed = yield from write_protect(self, new.base_gfn, new.end_gfn())
        if changed:
            yield from kvm_flush_remote_tlbs(self, WP_FLUSH)
        self.write_unlock()

    def faults_from_tlb(self) -> bool:
        """A store to a clean entry traps."""
        return True

    def table_walk_is_cached(self) -> bool:
        return False
