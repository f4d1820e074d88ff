# SPDX-License-Identifier: GPL-2.0-only
"""Faults of MIPS, fast and slow: what each step does to table, page and log, before the series and after it."""

from typing import Any

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mips.points import FAST_MARK, FAULT_MARK, FAULT_PUT
from reference_mmu.mm.page import Page
from reference_mmu.observed import PF_EMULATE, PF_FAST, PF_FIXED
from reference_mmu.stage2.points import FAULT_LOCK, FAULT_SEQ
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG
from tests.by_hand import MM
from tests.stage2_by_hand import HUGE, OLD_AND_NEW, Stage2Stage


def stage(semantics: Semantics = NEW, **config: Any) -> Stage2Stage:
    return Stage2Stage("mips", semantics, **config)


def page(mips: Stage2Stage, hva: int) -> Page:
    return mips.m.host.folio(mips.m.host.pte[hva])


def aged(semantics: Semantics, *, upgrade_fails: bool = False) -> Stage2Stage:
    """gfn 1 is mapped, clean and old, and in no TLB; its page has no marks."""
    mips = stage(semantics)
    mips.access(0, 1, upgrade_fails=upgrade_fails).finish()
    mips.run(MM, kvm_mmu_notifier_clear_young(mips.m, 1, 2))
    mips.m.flush_all()
    page(mips, 1).accessed = 0
    page(mips, 1).dirty = False
    mips.judge.violations.clear()
    return mips


@OLD_AND_NEW
def test_a_read_maps_clean_and_the_next_write_is_fast(semantics: Semantics) -> None:
    mips = stage(semantics)
    assert mips.read(0, 1).faults == [PF_FIXED]
    assert mips.leaf(1) & (S2_WRITE | S2_MAY_WRITE | S2_YOUNG) == S2_MAY_WRITE | S2_YOUNG
    assert page(mips, 1).dirty == (semantics == NEW)
    assert mips.write(0, 1).faults == [PF_FAST]
    assert mips.leaf(1) & S2_WRITE
    assert page(mips, 1).dirty


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, (1, True)), (NEW, (0, False))], ids=["old", "new"])
def test_the_fast_path_marks_a_page_that_nobody_holds_or_leaves_it_alone(
    semantics: Semantics, marks: tuple[int, bool]
) -> None:
    mips = aged(semantics)
    assert mips.write(0, 1).faults == [PF_FAST]
    assert mips.leaf(1) & S2_YOUNG
    assert marks == (int(page(mips, 1).accessed), page(mips, 1).dirty)
    assert mips.violations == (["mark-without-reference"] if semantics == OLD else [])


def test_the_fast_path_marks_also_if_it_fails() -> None:
    """The entry is read-only and old: it is young afterwards, and the slow path goes on."""
    mips = aged(OLD, upgrade_fails=True)
    store = mips.access(0, 1, write=True).to(FAST_MARK)
    assert mips.leaf(1) & S2_YOUNG
    store.to(FAULT_SEQ)
    assert page(mips, 1).accessed == 1


def test_before_the_series_the_slow_path_marks_a_page_that_it_has_put() -> None:
    mips = stage(OLD)
    store = mips.access(0, 1, write=True).to(FAULT_PUT)
    store.to(FAULT_MARK)
    assert mips.violations == ["late-page-mark"]
    assert page(mips, 1).kvm_refs == 0
    store.finish()
    assert page(mips, 1).accessed == 2
    assert mips.violations == ["late-page-mark", "mark-after-put"]


def test_since_the_series_it_marks_once_under_mmu_lock() -> None:
    mips = stage()
    store = mips.write(0, 1)
    assert (page(mips, 1).accessed, page(mips, 1).dirty, page(mips, 1).kvm_refs) == (1, True, 0)
    assert not {FAULT_PUT, FAULT_MARK} & set(store.points)
    assert mips.final_violations() == []


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, 1), (NEW, 0)], ids=["old", "new"])
def test_a_stale_page_is_looked_up_again_at_once(semantics: Semantics, marks: int) -> None:
    mips = stage(semantics)
    store = mips.access(0, 1, write=True).to(FAULT_LOCK)
    mips.run(MM, kvm_mmu_notifier_invalidate_range_start(mips.m, 6, 7))  # any range
    store.to(FAULT_SEQ)
    assert store.faults == []
    assert (page(mips, 1).accessed, page(mips, 1).kvm_refs) == (marks, 0)
    assert mips.violations == (["late-page-mark"] if semantics == OLD else [])
    mips.run(MM, kvm_mmu_notifier_invalidate_range_end(mips.m, 6, 7))
    store.finish()
    assert store.faults == [PF_FIXED]


def test_what_cannot_be_mapped_is_mmio() -> None:
    mips = stage(slots=(SlotConfig(base=0, npages=8, hva=0, readonly=True),))
    assert mips.write(0, 1).faults == [PF_EMULATE]
    assert mips.read(0, 9).faults == [PF_EMULATE]


def test_a_huge_page_is_mapped_page_by_page() -> None:
    mips = stage(**HUGE)
    mips.write(0, 5)
    assert mips.level(5) == 1
    assert mips.level(6) == 0


def test_ranges_of_the_notifier_are_one_gfn_longer() -> None:
    mips = stage()
    for gfn in (1, 2, 3):
        mips.read(0, gfn)
    mips.run(MM, kvm_mmu_notifier_invalidate_range_start(mips.m, 1, 2))
    assert [mips.level(gfn) for gfn in (1, 2, 3)] == [0, 0, 1]


@pytest.mark.reaches("stale-writable-mmuw")
def test_a_read_replaces_what_another_cpu_may_write_and_flushes_its_own() -> None:
    mips = stage()
    load = mips.access(0, 1, upgrade_fails=True).to(FAULT_LOCK)
    mips.write(1, 1)
    load.finish()
    assert not mips.leaf(1) & (S2_WRITE | S2_MAY_WRITE)
    assert mips.cached(1, 1) & TLB_W
    assert "stale-writable-mmuw" in mips.violations
