# SPDX-License-Identifier: GPL-2.0-only
"""A machine of RISC-V, complete: what the common code asks of the architecture (arch/riscv/kvm/mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.memslots import KvmGfnRange, KvmMemorySlot
from ..kvm.vcpu import KvmVcpu
from ..oracle import Oracle
from ..stage2.fault import Fault
from ..stage2.points import SLOT_LOCK
from ..stage2.pte import S2_YOUNG, is_leaf
from ..stage2.stage2 import Stage2
from ..stage2.table import find
from .fault import gstage_page_fault
from .gstage import gstage_unmap_range, gstage_wp_range
from .points import POINTS


class Riscv(Stage2):
    """mmu_lock is exclusive, for faults, too; TLBs are flushed by range, on the spot, with an exit."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)

    def handle_fault(self, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
        return gstage_page_fault(self, vcpu, fault)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Nothing is left to flush."""
        yield from gstage_unmap_range(self, gfn_range.start, gfn_range.end, True)
        return False

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Of a range the first leaf alone: the kernel wants it to be one page, or one huge page, and warns else."""
        yield from ()
        return self.test_young(gfn_range.start, True)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        yield from ()
        return self.test_young(gfn_range.start, False)

    def test_young(self, gfn: i64, clear: bool) -> bool:
        """Is the leaf of gfn young? With `clear` it is not afterwards (ptep_test_and_clear_young())."""
        sp, index = find(self, gfn)
        pte = sp.spt[index]
        self.count_visit()
        if not is_leaf(pte) or not pte & S2_YOUNG:
            return False
        if clear:
            self.store(sp, index, self.old_leaf(pte))
        return True

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        yield SLOT_LOCK
        self.write_lock()
        yield from gstage_unmap_range(self, slot.base_gfn, slot.end_gfn(), False)
        self.write_unlock()

    def write_protect(self, start: i64, end: i64) -> Generator[int, None, bool]:
        return gstage_wp_range(self, start, end)

    def faults_from_tlb(self) -> bool:
        """A fault may come from a TLB entry that is older than the leaf."""
        return True

    def flush_range(self, first: i64, end: i64) -> None:
        self.drop_everywhere(first, end)
