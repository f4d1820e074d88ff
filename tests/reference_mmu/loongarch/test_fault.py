# SPDX-License-Identifier: GPL-2.0-only
"""Faults of LoongArch, fast and slow: what each step does to table, page and log, before the series and after it."""

from typing import Any, Final

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.loongarch.points import FAST_MARK, FAULT_LOG, FAULT_MARK, FAULT_PUT
from reference_mmu.mm.page import Page
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.observed import PF_EMULATE, PF_FAST, PF_FIXED
from reference_mmu.stage2.points import FAULT_LOCK, FAULT_SEQ
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, pfn_of
from tests.by_hand import IOCTL, MM
from tests.stage2_by_hand import HUGE, OLD_AND_NEW, Stage2Stage

LOGGING: Final[dict[str, Any]] = {"slots": (SlotConfig(base=0, npages=8, hva=0, logging=True),)}


def stage(semantics: Semantics = NEW, **config: Any) -> Stage2Stage:
    return Stage2Stage("loongarch", semantics, **config)


def page(loong: Stage2Stage, hva: int) -> Page:
    return loong.m.host.folio(loong.m.host.pte[hva])


def aged(semantics: Semantics) -> Stage2Stage:
    """gfn 1 is mapped, clean and old, and in no TLB; its page has no marks."""
    loong = stage(semantics)
    loong.read(0, 1)
    loong.run(MM, kvm_mmu_notifier_clear_young(loong.m, 1, 2))
    loong.m.flush_all()
    page(loong, 1).accessed = 0
    page(loong, 1).dirty = False
    loong.judge.violations.clear()
    return loong


@OLD_AND_NEW
def test_a_read_maps_clean_and_the_next_write_is_fast(semantics: Semantics) -> None:
    loong = stage(semantics)
    assert loong.read(0, 1).faults == [PF_FIXED]
    assert loong.leaf(1) & (S2_WRITE | S2_MAY_WRITE | S2_YOUNG) == S2_MAY_WRITE | S2_YOUNG
    assert loong.write(0, 1).faults == [PF_FAST]
    assert loong.leaf(1) & S2_WRITE


@pytest.mark.parametrize(("semantics", "read", "written"), [(OLD, False, True), (NEW, True, True)], ids=["old", "new"])
def test_when_a_page_gets_dirty(semantics: Semantics, read: bool, written: bool) -> None:
    loong = stage(semantics)
    loong.read(0, 1)
    assert page(loong, 1).dirty == read
    loong.write(0, 1)
    assert page(loong, 1).dirty == written


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, (1, True)), (NEW, (0, False))], ids=["old", "new"])
def test_the_fast_path_marks_its_page_or_leaves_it_alone(semantics: Semantics, marks: tuple[int, bool]) -> None:
    loong = aged(semantics)
    assert loong.write(0, 1).faults == [PF_FAST]
    assert loong.leaf(1) & S2_YOUNG
    assert marks == (int(page(loong, 1).accessed), page(loong, 1).dirty)
    assert page(loong, 1).kvm_refs == 0
    assert loong.violations == (["late-page-mark"] if semantics == OLD else [])


def test_the_fast_path_held_the_page_when_mmu_lock_was_released() -> None:
    loong = aged(OLD)
    load = loong.access(0, 1).to(FAST_MARK)
    assert page(loong, 1).kvm_refs == 1
    load.finish()


def test_a_page_that_was_cleaned_is_marked_dirty_before_the_series() -> None:
    loong = stage(OLD, backing=("file", "file"))
    store = loong.access(0, 1, write=True).to(FAULT_MARK)
    pfn = loong.m.host.pte[1]
    loong.run(MM, writeback(loong.m, 1))
    assert not loong.m.host.pages[pfn].dirty
    store.to(FAULT_PUT)
    assert loong.m.host.pages[pfn].dirty
    assert loong.leaf(1) == 0


def test_since_the_series_marks_come_under_mmu_lock_and_the_log_after_it() -> None:
    loong = stage(NEW, **LOGGING)
    store = loong.access(0, 1, write=True).to(FAULT_LOG)
    assert (page(loong, 1).dirty, page(loong, 1).kvm_refs, loong.dirty(1)) == (True, 0, False)
    store.finish()
    assert loong.dirty(1)
    assert loong.final_violations() == []


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, 1), (NEW, 0)], ids=["old", "new"])
def test_a_stale_page_is_looked_up_again_at_once(semantics: Semantics, marks: int) -> None:
    loong = stage(semantics)
    store = loong.access(0, 1, write=True).to(FAULT_LOCK)
    loong.run(MM, kvm_mmu_notifier_invalidate_range_start(loong.m, 1, 2))
    store.to(FAULT_SEQ)
    assert store.faults == []
    assert (page(loong, 1).accessed, page(loong, 1).kvm_refs) == (marks, 0)
    assert loong.violations == (["late-page-mark"] if semantics == OLD else [])
    loong.run(MM, kvm_mmu_notifier_invalidate_range_end(loong.m, 1, 2))
    store.finish()
    assert store.faults == [PF_FIXED]


def test_an_invalidation_of_another_range_that_is_under_way_does_not_disturb() -> None:
    loong = stage()
    loong.run(MM, kvm_mmu_notifier_invalidate_range_start(loong.m, 6, 7))
    assert loong.write(0, 1).faults == [PF_FIXED]


def test_what_cannot_be_mapped_is_mmio() -> None:
    loong = stage(backing=("hwpoison", "anon"))
    assert loong.read(0, 1).faults == [PF_EMULATE]
    assert loong.read(0, 9).faults == [PF_EMULATE]


@OLD_AND_NEW
def test_a_huge_page_is_split_by_a_write_that_is_logged(semantics: Semantics) -> None:
    loong = stage(semantics, **HUGE)
    loong.write(0, 5)
    assert loong.level(5) == 2
    assert pfn_of(loong.leaf(5)) == loong.m.host.pte[4]
    loong.run(IOCTL, enable_dirty_log(loong.m, 0))
    loong.write(0, 5)
    assert [loong.level(gfn) for gfn in (4, 5)] == [1, 1]
    assert [loong.leaf(gfn) & S2_WRITE != 0 for gfn in (4, 5)] == [False, True]
    assert loong.dirty(5)


@OLD_AND_NEW
def test_where_there_is_a_table_no_huge_page_comes(semantics: Semantics) -> None:
    loong = stage(semantics, **HUGE)
    loong.run(IOCTL, enable_dirty_log(loong.m, 0))
    loong.write(0, 5)
    loong.run(IOCTL, disable_dirty_log(loong.m, 0))
    loong.read(0, 6)
    assert loong.level(6) == 1


@pytest.mark.reaches("refcount-underflow")
def test_before_the_series_the_aligned_pfn_of_persistent_memory_is_put() -> None:
    """Its huge page is no single folio: the page that was taken stays taken."""
    loong = stage(OLD, backing=("fsdax", "anon"))
    loong.read(0, 1)
    assert page(loong, 1).kvm_refs == 1
    assert "refcount-underflow" in loong.final_violations()


@pytest.mark.reaches("stale-writable-mmuw")
def test_a_read_replaces_what_another_cpu_may_write_and_flushes_its_own() -> None:
    loong = stage()
    load = loong.access(0, 1, upgrade_fails=True).to(FAULT_LOCK)
    loong.write(1, 1)
    load.finish()
    assert not loong.leaf(1) & (S2_WRITE | S2_MAY_WRITE)
    assert loong.cached(1, 1) & TLB_W
    assert "stale-writable-mmuw" in loong.violations
