# SPDX-License-Identifier: GPL-2.0-only
"""Flows of machines with a stage-2 table driven by hand."""

from typing import Any, Final

import pytest

from fuzzer.oracle.judges import make_judge
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import Config, SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.mm.page import Page
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.operations import READ, WRITE, Call
from reference_mmu.stage2.stage2 import Stage2
from reference_mmu.stage2.table import find
from tests.by_hand import ACTORS, IOCTL, MM, OPERATIONS, AnyStage, Thread

OLD_AND_NEW = pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])
HUGE: Final[dict[str, Any]] = {"backing": ("thp", "thp")}
"""A machine whose first slot is two huge pages, gfns 0 to 3 and 4 to 7."""

LOGGING: Final[dict[str, Any]] = {"slots": (SlotConfig(base=0, npages=8, hva=0, logging=True),)}
"""A machine whose only slot logs from the start."""


class Stage2Stage(AnyStage):
    """A machine of an architecture with a stage-2 table. Keywords are fields of Config; `semantics` NEW unless said."""

    def __init__(self, arch: str, semantics: Semantics = NEW, **config: Any) -> None:
        super().__init__()
        machine = Config(arch=arch, **config).check()
        self.judge = make_judge(machine)
        made = ARCHITECTURES[arch].machine(machine, semantics, ACTORS, OPERATIONS, self.judge)
        assert isinstance(made, Stage2)
        self.m: Stage2 = made

    def access(self, vcpu: int, gfn: int, *, write: bool = False, upgrade_fails: bool = False) -> Thread:
        call = Call(0, WRITE if write else READ, gfn, int(upgrade_fails))
        return self.thread(vcpu, self.m.start(vcpu, call))

    def entry(self, gfn: int, level: int = 1) -> tuple[PageTable, int]:
        """Table and index of the entry for gfn at `level`, or of the one above where the walk ends."""
        sp, index = find(self.m, gfn, level)
        return sp, int(index)

    def pte(self, gfn: int, level: int = 1) -> int:
        """That entry."""
        sp, index = self.entry(gfn, level)
        return sp.spt[index]

    def leaf(self, gfn: int) -> int:
        """The leaf of gfn, 0 if there is none."""
        return int(self.m.leaf_of(self.m.root, gfn)[0])

    def level(self, gfn: int) -> int:
        """1 for a page, 2 for a block, 0 for nothing."""
        return int(self.m.leaf_of(self.m.root, gfn)[1])

    def page(self, hva: int) -> Page:
        """The folio that the process has there."""
        return self.m.host.folio(self.m.host.pte[hva])

    # --- what somebody else does meanwhile ----------------------------------------------------------------------

    def table_of_log(self, gfn: int) -> PageTable:
        """While a slot of huge pages logged, a read of gfn has made a table, which is there still."""
        self.run(IOCTL, enable_dirty_log(self.m, 0))
        self.read(0, gfn)
        table, _ = self.entry(gfn)
        self.run(IOCTL, disable_dirty_log(self.m, 0))
        return table

    def cleaned_at(self, point: int) -> tuple[Thread, Page]:
        """A store to gfn 1 has come to `point`. Writeback cleans its page, which nothing maps any more."""
        store, page = self.access(0, 1, write=True).to(point), self.page(1)
        self.run(MM, writeback(self.m, 1))
        assert not page.dirty
        assert self.leaf(1) == 0
        return store, page

    # --- what the primary MMU tells KVM ---------------------------------------------------------------------------

    def begin_invalidation(self, first: int, end: int) -> None:
        self.run(MM, kvm_mmu_notifier_invalidate_range_start(self.m, first, end))

    def end_invalidation(self, first: int, end: int) -> None:
        self.run(MM, kvm_mmu_notifier_invalidate_range_end(self.m, first, end))

    def clear_young(self, first: int, end: int) -> None:
        self.run(MM, kvm_mmu_notifier_clear_young(self.m, first, end))

    def forget(self) -> None:
        """gfn 1 is old, and in no TLB; its page has no marks, and nothing was ever wrong."""
        self.clear_young(1, 2)
        self.m.flush_all()
        self.page(1).accessed = 0
        self.page(1).dirty = False
        self.judge.violations.clear()
