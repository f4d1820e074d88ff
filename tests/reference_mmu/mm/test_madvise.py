# SPDX-License-Identifier: GPL-2.0-only
"""MADV_DONTNEED: what is thrown away with whom, in how many invalidations; and pages that are asked for."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.host import HOST_D, HOST_SHARED, HOST_W, PTE_EMPTY, PTE_NONE
from reference_mmu.mm.madvise import madvise_dontneed, madvise_populate
from reference_mmu.mm.mmap import munmap
from reference_mmu.points import INV_PRIMARY
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, told_of


def test_each_vma_is_an_invalidation_of_its_own(stage: Stage) -> None:
    for gfn in range(8):
        stage.write(0, gfn)
    assert told_of(stage, madvise_dontneed(stage.m, 2, 6)) == [*pair(2, 4), *pair(4, 6)]
    assert [hva for hva in range(8) if stage.m.host.pte[hva] == PTE_EMPTY] == [2, 3, 4, 5]
    assert [int(stage.m.host.contents(hva)) for hva in (1, 2, 5, 6)] == [2, 0, 0, 7]
    stage.read(1, 2)
    assert stage.final_violations() == []


def test_part_of_a_huge_page_splits_it_inside_the_invalidation(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.write(0, 1)
    assert told_of(stage, madvise_dontneed(stage.m, 1, 2)) == [("start", 1, 2), *pair(0, 4), ("end", 1, 2)]
    assert stage.m.host.huge == [False, False]
    stage.write(0, 1)
    assert stage.m.host.huge == [False, False]
    assert stage.final_violations() == []


def test_a_whole_huge_page_goes_at_once_and_another_one_comes(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.write(0, 1)
    old = int(stage.m.host.pte[0])
    assert told_of(stage, madvise_dontneed(stage.m, 0, 4)) == pair(0, 4)
    assert all(stage.m.host.pages[pfn].freed for pfn in range(old, old + 4))
    stage.write(0, 2)
    assert stage.m.host.huge == [True, False]
    assert {int(flags) for flags in stage.m.host.flags[:4]} == {HOST_W | HOST_D}
    assert stage.level(2) == 2
    assert stage.final_violations() == []


def test_a_read_after_that_maps_the_huge_zero_page_which_a_write_splits(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.run(MM, madvise_dontneed(stage.m, 0, 4))
    stage.read(0, 2)
    assert stage.m.host.huge == [True, False]
    assert {int(flags) for flags in stage.m.host.flags[:4]} == {HOST_SHARED}
    zero = int(stage.m.host.pte[2])
    stage.write(0, 2)
    assert stage.m.host.huge == [False, False]
    assert int(stage.m.host.pte[2]) != zero
    assert not stage.m.host.pages[zero].freed
    assert stage.final_violations() == []


def test_a_fault_beside_the_part_maps_the_huge_page_until_that_is_split(semantics: Semantics) -> None:
    """Odd, and legal: a leaf that reaches into a range under invalidation. The split, which comes first, zaps it."""
    stage = Stage(semantics, backing=("thp", "anon"))
    zap = stage.thread(MM, madvise_dontneed(stage.m, 1, 2)).to(INV_PRIMARY)
    stage.write(0, 2)
    assert stage.level(1) == 2
    zap.to(INV_PRIMARY)
    assert stage.level(1) == 0
    zap.finish()
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["file", "shmem"])
def test_pages_of_a_file_are_unmapped_and_found_again(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    pfn = int(stage.m.host.pte[1])
    stage.run(MM, madvise_dontneed(stage.m, 1, 2))
    assert (int(stage.m.host.pte[1]), int(stage.m.host.swap_cache[1])) == (PTE_NONE, pfn)
    assert stage.m.host.pages[pfn].dirty
    stage.read(0, 1)
    assert int(stage.m.host.pte[1]) == pfn
    assert stage.final_violations() == []


@pytest.mark.parametrize(("kind", "first", "end"), [("hugetlb", 0, 2), ("devdax", 1, 4), ("pfnmap-reserved", 0, 4)])
def test_what_cannot_be_thrown_away_stays(kind: str, first: int, end: int, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    assert told_of(stage, madvise_dontneed(stage.m, first, end)) == []
    assert all(int(pte) >= 0 for pte in stage.m.host.pte)


@pytest.mark.parametrize("write", [False, True])
def test_populating_is_the_fault_of_the_process(write: bool, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("untouched", "anon"))
    stage.run(MM, madvise_populate(stage.m, 1, write))
    assert int(stage.m.host.flags[1]) == (HOST_W | HOST_D if write else HOST_SHARED)
    stage.run(DEVICE, munmap(stage.m, 1))
    stage.run(MM, madvise_populate(stage.m, 1, write))
    assert int(stage.m.host.pte[1]) == PTE_EMPTY
