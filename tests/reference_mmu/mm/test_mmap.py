# SPDX-License-Identifier: GPL-2.0-only
"""VMAs that go and come: no fault finds what is going, whatever was there is empty when it comes back."""

from typing import get_args

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Backing
from reference_mmu.mm.host import HOST_D, HOST_W, PTE_EMPTY
from reference_mmu.mm.mmap import mmap_fixed, munmap
from reference_mmu.observed import PF_ERROR
from reference_mmu.points import INV_ACTIVE, INV_END_LOCK, INV_PRIMARY, MMAP_READ, MMAP_WRITE
from reference_mmu.rwlock import ModelBug
from reference_mmu.x86.points import FAULT_GUP, FAULT_PFN
from tests.by_hand import MM, Stage
from tests.notified import pair, told_of


@pytest.mark.parametrize("kind", get_args(Backing))
def test_everything_goes_in_one_invalidation(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.read(0, 1)
    pages = [stage.m.host.pages[int(pfn)] for pfn in stage.m.host.pte[:4] if pfn >= 0]
    kept = [page for page in pages if (stage.m.host.folio(page.head).refcount > 1 and not page.large) or page.zero]
    assert told_of(stage, munmap(stage.m, 2)) == pair(0, 4)
    assert {int(pte) for pte in stage.m.host.pte[:4]} == {PTE_EMPTY}
    assert stage.m.host.huge == [False, False]
    reader = stage.read(0, 1)
    assert reader.faults == [PF_ERROR]
    assert stage.final_violations() == []
    if kind in ("anon", "file", "shmem", "thp", "hugetlb", "fsdax", "devdax", "readonly"):
        assert all(page.freed for page in pages)
    elif kind in ("cow", "ksm"):
        assert len(kept) == len(pages)
        assert not any(page.freed for page in pages)


@pytest.mark.parametrize("kind", ["untouched", "pfnmap-nostruct"])
def test_a_fault_that_comes_before_the_pages_go_finds_no_vma(kind: str, semantics: Semantics) -> None:
    """Nor does memory of a driver turn into anything else without its VMA."""
    stage = Stage(semantics, backing=(kind, "anon"))
    before = stage.m.host.pte[1]
    reader = stage.access(0, 1).to(FAULT_GUP)
    stage.thread(MM, munmap(stage.m, 1)).to(INV_ACTIVE)
    reader.finish()
    assert reader.faults == [PF_ERROR]
    assert stage.m.host.pte[1] == before
    assert stage.violations == []


def test_gup_fast_still_finds_the_page_which_the_invalidation_takes_away(stage: Stage) -> None:
    reader = stage.access(0, 1).to(FAULT_GUP)
    unmap = stage.thread(MM, munmap(stage.m, 1)).to(INV_ACTIVE)
    reader.finish()
    assert stage.level(1) == 1
    unmap.finish()
    assert stage.level(1) == 0
    assert stage.final_violations() == []


def test_a_reference_outlives_the_mapping(stage: Stage) -> None:
    pfn = int(stage.m.host.pte[1])
    holder = stage.access(0, 1, write=True).to(FAULT_PFN)
    stage.run(MM, munmap(stage.m, 1))
    assert not stage.m.host.pages[pfn].freed
    holder.finish()
    assert stage.m.host.pages[pfn].freed
    assert stage.final_violations() == []


@pytest.mark.parametrize("unmapped", [False, True])
@pytest.mark.parametrize("kind", ["anon", "thp", "file", "hugetlb", "pfnmap-refcounted", "hwpoison"])
def test_a_new_mapping_is_memory_that_nobody_has_touched(kind: str, unmapped: bool, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    if unmapped:
        stage.run(MM, munmap(stage.m, 1))
    stage.run(MM, mmap_fixed(stage.m, 1))
    assert int(stage.m.host.contents(1)) == 0
    stage.read(0, 2)
    assert stage.m.host.pages[int(stage.m.host.pte[2])].zero
    writer = stage.write(0, 1)
    assert int(stage.m.host.flags[1]) == HOST_W | HOST_D
    assert int(stage.m.host.contents(1)) == writer.uid + 1
    assert stage.final_violations() == []


def test_a_page_that_is_faulted_in_before_the_new_mapping_is_there_is_refused(stage: Stage) -> None:
    """Somebody who does not care for mmap_lock."""
    remap = stage.thread(MM, mmap_fixed(stage.m, 1)).to(MMAP_WRITE).to(INV_END_LOCK)
    stage.m.host.place(1, stage.m.host.alloc(1, 0), HOST_W)
    with pytest.raises(ModelBug, match="finds a page"):
        remap.finish()


def test_munmap_lets_readers_in_while_pages_go_and_mmap_does_not(stage: Stage) -> None:
    unmap = stage.thread(MM, munmap(stage.m, 1)).to(MMAP_WRITE).to(INV_PRIMARY)
    assert stage.m.mmap_lock.can_read()
    unmap.finish()
    stage.thread(MM, mmap_fixed(stage.m, 5)).to(MMAP_WRITE).to(INV_PRIMARY)
    assert not stage.m.mmap_lock.can_read()
    assert not stage.m.can_run(0, stage.m.points.wants[MMAP_READ])
