# SPDX-License-Identifier: GPL-2.0-only
"""Marks on struct page: when, on which page, and that they are there in time."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.kvm.release import kvm_release_page_dirty, kvm_set_pfn_accessed, kvm_set_pfn_dirty
from reference_mmu.mm.page_io import pageout
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.points import INV_IO
from reference_mmu.x86.fault import kvm_mmu_finish_page_fault
from reference_mmu.x86.page_fault import KvmPageFault
from reference_mmu.x86.points import FAULT_LOCK_R
from reference_mmu.x86.ret_pf import RET_PF_FIXED
from reference_mmu.x86.spte import SHADOW_NONPRESENT_VALUE
from tests.by_hand import MM, Stage
from tests.parameters import EVERY_MMU_OF_BOTH, EVERY_PAGING


def store_and_unlock(stage: Stage, spte: int) -> None:
    stage.m.write_lock()
    stage.store(1, spte)
    stage.m.write_unlock()


# --- accepts ---------------------------------------------------------------------------------------------------


@EVERY_MMU_OF_BOTH
@EVERY_PAGING
@pytest.mark.parametrize("backing", ["anon", "thp", "file", "shmem"])
def test_accepts_pages_written_back_between_writes(backing: str, paging: str, mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, paging=paging, backing=(backing, "anon"))
    for gfn in (1, 2):
        stage.read(0, gfn)
        stage.write(0, gfn)
        stage.run(MM, writeback(stage.m, gfn))
        stage.write(1, gfn)
    assert stage.final_violations() == []


@pytest.mark.parametrize("paging", ["ept-ad", "ept-noad"])
def test_accepts_a_write_that_only_the_spte_tells_of(paging: str) -> None:
    """x86 before x86-dirty-at-spte-creation: the zap will mark the page, reclaim asks for that before it looks."""
    stage = Stage(OLD, paging=paging, backing=("shmem", "anon"))
    stage.write(0, 1)
    assert not stage.m.host.folio(stage.m.host.pte[1]).dirty
    stage.judge.finish(stage.m)
    assert {"unsaved-write", "writable-clean-page"}.isdisjoint(stage.violations)


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("late-page-mark")
def test_rejects_a_mark_after_mmu_lock_was_released() -> None:
    """What the no-struct-page series moved: the page may have been cleaned or freed by then."""
    stage = Stage()
    fault = KvmPageFault(1, True, False, False, False)
    pfn = int(stage.m.host.pte[1])
    stage.take(pfn)
    fault.refcounted_page = pfn
    fault.map_writable = True
    kvm_mmu_finish_page_fault(stage.m, fault, RET_PF_FIXED)
    assert stage.violations == ["lockdep", "late-page-mark"]


@pytest.mark.reaches("mark-without-reference")
def test_rejects_a_mark_by_pfn_with_neither_mmu_lock_nor_a_reference() -> None:
    stage = Stage()
    kvm_set_pfn_accessed(stage.m, stage.m.host.pte[1])
    assert stage.violations == ["mark-without-reference"]


def test_rejects_a_mark_of_a_page_that_another_actor_holds() -> None:
    """This one holds its neighbour."""
    stage = Stage()
    stage.take(int(stage.m.host.pte[1]), actor=1)
    stage.take(int(stage.m.host.pte[2]))
    kvm_set_pfn_accessed(stage.m, stage.m.host.pte[1])
    assert stage.violations == ["mark-without-reference", "released-with-wrong-page"]


@pytest.mark.reaches("stale-fault-marks-dirty", "dirty-after-clean")
def test_rejects_a_fault_that_does_not_look_whether_it_is_stale() -> None:
    """The page was written back meanwhile. Its filesystem has not agreed to what is dirty now."""
    stage = Stage(NEW, backing=("file", "anon"))
    writer = stage.access(0, 1, write=True).to(FAULT_LOCK_R)
    stage.run(MM, writeback(stage.m, 1))
    assert not stage.m.host.folio(stage.m.host.pte[1]).dirty
    stage.m.actor = 0
    stage.m.mmu_lock.write_lock(0)
    kvm_release_page_dirty(stage.m, stage.m.host.pte[1])
    assert writer.at == FAULT_LOCK_R
    assert stage.violations == ["stale-fault-marks-dirty", "dirty-after-clean"]


@pytest.mark.reaches("writable-clean-page")
def test_rejects_a_page_cleaned_while_the_guest_may_write_it() -> None:
    stage = Stage(NEW, backing=("shmem", "anon"))
    stage.write(0, 1)
    assert stage.violations == []
    pageout(stage.m, stage.m.host.pte[1])
    assert stage.violations == ["writable-clean-page"]


def test_rejects_a_writable_leaf_made_without_a_mark() -> None:
    stage = Stage(NEW, backing=("shmem", "anon"))
    stage.write(0, 1)
    leaf = stage.leaf(1)
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    pageout(stage.m, stage.m.host.pte[1])
    store_and_unlock(stage, leaf)
    assert stage.violations == ["writable-clean-page"]


@pytest.mark.parametrize("paging", ["ept-ad", "ept-noad"])
def test_rejects_a_zap_that_forgets_what_the_spte_told(paging: str) -> None:
    stage = Stage(OLD, paging=paging, backing=("shmem", "anon"))
    stage.write(0, 1)
    store_and_unlock(stage, SHADOW_NONPRESENT_VALUE)
    assert "writable-clean-page" in stage.violations


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_zap_marks_the_page_that_it_unmaps() -> None:
    """It holds no reference, but until it has released mmu_lock the primary MMU waits for it."""
    stage = Stage()
    stage.m.write_lock()
    kvm_set_pfn_dirty(stage.m, stage.m.host.pte[1])
    stage.m.write_unlock()
    assert stage.violations == []


def test_legal_a_page_looked_up_between_its_invalidation_and_its_cleaning() -> None:
    """The fault is not stale, and its mark is what saves the next write."""
    stage = Stage(NEW, backing=("file", "anon"))
    stage.write(1, 1)
    cleaner = stage.thread(MM, writeback(stage.m, 1)).to(INV_IO)
    writer = stage.access(0, 1, write=True).to(FAULT_LOCK_R)
    cleaner.finish()
    assert stage.m.host.folio(stage.m.host.pte[1]).cleaned == 1
    writer.finish()
    assert stage.m.host.folio(stage.m.host.pte[1]).dirty
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["hugetlb", "fsdax", "pfnmap-refcounted"])
def test_legal_clean_where_nothing_is_ever_written_out(kind: str) -> None:
    stage = Stage(NEW, backing=(kind, "anon"))
    stage.write(0, 1)
    for hva in range(4):
        stage.m.host.flags[hva] &= ~2
        stage.m.host.folio(stage.m.host.pte[hva]).dirty = False
    stage.write(1, 2)
    pageout(stage.m, stage.m.host.pte[1])
    assert stage.violations == []


def test_legal_the_host_pte_says_that_the_page_is_dirty() -> None:
    stage = Stage(NEW)
    stage.write(0, 1)
    pageout(stage.m, stage.m.host.pte[1])
    assert not stage.m.host.folio(stage.m.host.pte[1]).dirty
    assert stage.violations == []
