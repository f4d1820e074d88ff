# SPDX-License-Identifier: GPL-2.0-only
"""Faults of LoongArch, fast and slow: what each step does to table, page and log, before the series and after it."""

from typing import Any

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.loongarch.points import FAST_LOG, FAULT_LOG, FAULT_MARK, FAULT_PUT
from reference_mmu.observed import PF_EMULATE, PF_FIXED
from reference_mmu.stage2.points import FAST_MARK
from reference_mmu.stage2.pte import S2_WRITE, pfn_of
from tests.by_hand import IOCTL
from tests.stage2_by_hand import HUGE, LOGGING, OLD_AND_NEW, Stage2Stage


def stage(semantics: Semantics = NEW, **config: Any) -> Stage2Stage:
    return Stage2Stage("loongarch", semantics, **config)


def aged(semantics: Semantics) -> Stage2Stage:
    """gfn 1 is mapped, clean and old, and in no TLB; its page has no marks."""
    loong = stage(semantics)
    loong.read(0, 1)
    loong.forget()
    return loong


def test_the_fast_path_held_the_page_when_mmu_lock_was_released() -> None:
    loong = aged(OLD)
    load = loong.access(0, 1).to(FAST_MARK)
    assert loong.page(1).kvm_refs == 1
    load.finish()


@OLD_AND_NEW
def test_what_the_fast_path_makes_dirty_is_logged_after_mmu_lock(semantics: Semantics) -> None:
    loong = stage(semantics, **LOGGING)
    loong.read(0, 1)
    store = loong.access(0, 1, write=True).to(FAST_LOG)
    assert (loong.leaf(1) & S2_WRITE != 0, loong.m.mmu_lock.can_read(), loong.dirty(1)) == (True, True, False)
    store.finish()
    assert loong.dirty(1)


def test_a_page_that_was_cleaned_is_marked_dirty_before_the_series() -> None:
    loong = stage(OLD, backing=("file", "file"))
    store, page = loong.cleaned_at(FAULT_MARK)
    store.to(FAULT_PUT)
    assert page.dirty


def test_since_the_series_marks_come_under_mmu_lock_and_the_log_after_it() -> None:
    loong = stage(NEW, **LOGGING)
    store = loong.access(0, 1, write=True).to(FAULT_LOG)
    assert (loong.page(1).dirty, loong.page(1).kvm_refs, loong.dirty(1)) == (True, 0, False)
    store.finish()
    assert loong.dirty(1)
    assert loong.final_violations() == []


def test_an_invalidation_of_another_range_that_is_under_way_does_not_disturb() -> None:
    loong = stage()
    loong.begin_invalidation(6, 7)
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
    assert loong.page(1).kvm_refs == 1
    assert "refcount-underflow" in loong.final_violations()
