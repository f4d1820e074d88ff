# SPDX-License-Identifier: GPL-2.0-only
"""Memory errors: a hwpoison entry instead of the page, unless a file has the same; held huge pages stay."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.host import PTE_EMPTY, PTE_HWPOISON, PTE_NONE
from reference_mmu.mm.madvise import madvise_dontneed
from reference_mmu.mm.memory_failure import memory_failure
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.points import FAULT_RETRY, POISON_DROP
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, told_of


@pytest.mark.parametrize("kind", ["anon", "file", "cow"])
def test_contents_that_are_nowhere_else_are_lost(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    assert told_of(stage, memory_failure(stage.m, 1)) == pair(1, 2)
    assert int(stage.m.host.pte[1]) == PTE_HWPOISON
    reader = stage.read(0, 1)
    assert FAULT_RETRY not in reader.points
    assert stage.level(1) == 0
    assert stage.final_violations() == []


def test_a_clean_page_of_a_file_is_read_again(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("file", "anon"))
    writer = stage.write(0, 1)
    stage.run(MM, writeback(stage.m, 1))
    pfn = int(stage.m.host.pte[1])
    stage.run(MM, memory_failure(stage.m, 1))
    assert int(stage.m.host.pte[1]) == PTE_NONE
    assert stage.m.host.pages[pfn].freed
    stage.read(0, 1)
    assert int(stage.m.host.contents(1)) == writer.uid + 1
    assert stage.final_violations() == []


def test_of_a_huge_page_one_page_is_lost(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    writers = [stage.write(0, gfn) for gfn in range(4)]
    stage.run(MM, memory_failure(stage.m, 1))
    assert [int(pte) == PTE_HWPOISON for pte in stage.m.host.pte[:4]] == [False, True, False, False]
    assert [int(stage.m.host.contents(hva)) for hva in (0, 2, 3)] == [writers[hva].uid + 1 for hva in (0, 2, 3)]
    assert stage.final_violations() == []


def test_a_huge_page_that_somebody_holds_stays(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    holder = stage.access(0, 2).to(FAULT_PFN)
    assert told_of(stage, memory_failure(stage.m, 1)) == []
    holder.finish()
    assert stage.m.host.huge == [True, False]
    assert stage.final_violations() == []


def test_what_is_thrown_away_meanwhile_is_lost_once(stage: Stage) -> None:
    stage.write(0, 1)
    page = stage.m.host.pages[int(stage.m.host.pte[1])]
    failure = stage.thread(MM, memory_failure(stage.m, 1)).to(POISON_DROP)
    stage.run(DEVICE, madvise_dontneed(stage.m, 1, 2))
    failure.finish()
    assert (int(stage.m.host.pte[1]), page.freed) == (PTE_EMPTY, True)
    stage.write(0, 1)
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["swapped", "untouched", "hugetlb", "fsdax", "pfnmap-nostruct"])
def test_nothing_happens_to_what_is_not_mapped_or_has_ways_of_its_own(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    assert told_of(stage, memory_failure(stage.m, 1)) == []
