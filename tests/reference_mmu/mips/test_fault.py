# SPDX-License-Identifier: GPL-2.0-only
"""Faults of MIPS, fast and slow: what each step does to table, page and log, before the series and after it."""

from typing import Any

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.mips.points import FAULT_MARK, FAULT_PUT
from reference_mmu.observed import PF_EMULATE, PF_FIXED
from reference_mmu.stage2.points import FAST_MARK, FAULT_LOCK, FAULT_SEQ
from reference_mmu.stage2.pte import S2_YOUNG
from tests.stage2_by_hand import HUGE, Stage2Stage


def stage(semantics: Semantics = NEW, **config: Any) -> Stage2Stage:
    return Stage2Stage("mips", semantics, **config)


def aged(semantics: Semantics, *, upgrade_fails: bool = False) -> Stage2Stage:
    """gfn 1 is mapped, clean and old, and in no TLB; its page has no marks."""
    mips = stage(semantics)
    mips.access(0, 1, upgrade_fails=upgrade_fails).finish()
    mips.forget()
    return mips


def test_the_fast_path_marks_also_if_it_fails() -> None:
    """The entry is read-only and old: it is young afterwards, and the slow path goes on."""
    mips = aged(OLD, upgrade_fails=True)
    store = mips.access(0, 1, write=True).to(FAST_MARK)
    assert mips.leaf(1) & S2_YOUNG
    store.to(FAULT_SEQ)
    assert mips.page(1).accessed == 1


def test_before_the_series_the_slow_path_marks_a_page_that_it_has_put() -> None:
    mips = stage(OLD)
    store = mips.access(0, 1, write=True).to(FAULT_PUT)
    store.to(FAULT_MARK)
    assert mips.violations == ["late-page-mark"]
    assert mips.page(1).kvm_refs == 0
    store.finish()
    assert mips.page(1).accessed == 2
    assert mips.violations == ["late-page-mark", "mark-after-put"]


def test_since_the_series_it_marks_once_under_mmu_lock() -> None:
    mips = stage()
    store = mips.write(0, 1)
    assert (mips.page(1).accessed, mips.page(1).dirty, mips.page(1).kvm_refs) == (1, True, 0)
    assert not {FAULT_PUT, FAULT_MARK} & set(store.points)
    assert mips.final_violations() == []


def test_an_invalidation_of_any_range_makes_a_page_stale() -> None:
    mips = stage()
    store = mips.access(0, 1, write=True).to(FAULT_LOCK)
    mips.begin_invalidation(6, 7)
    store.to(FAULT_SEQ)
    mips.end_invalidation(6, 7)
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
    mips.begin_invalidation(1, 2)
    assert [mips.level(gfn) for gfn in (1, 2, 3)] == [0, 0, 1]
