# SPDX-License-Identifier: GPL-2.0-only
"""Huge pages: the PTE is split and the pages stay one, or these become small ones if nobody else holds them."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.filemap import folio_trylock, folio_unlock
from reference_mmu.mm.huge_memory import split_huge_page, split_huge_pmd
from reference_mmu.mm.madvise import madvise_dontneed
from reference_mmu.points import GUP_WAIT, SPLIT_FREEZE
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage, Thread
from tests.notified import pair, record_notifiers


def split(stage: Stage, hva: int) -> Thread:
    stage.m.actor = MM
    return stage.thread(MM, split_huge_page(stage.m, folio_trylock(stage.m, hva)))


def test_a_split_pte_leaves_the_pages_in_one_folio(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    calls = record_notifiers(stage)
    stage.run(MM, split_huge_pmd(stage.m, 2))
    stage.run(MM, split_huge_pmd(stage.m, 2))
    assert calls == pair(0, 4)
    assert stage.m.host.folio(stage.m.host.pte[3]).large


def test_a_split_page_is_mapped_nowhere_until_it_is_frozen(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    writers = [stage.write(0, gfn) for gfn in range(4)]
    thread = split(stage, 1).to(SPLIT_FREEZE)
    reader = stage.access(0, 2).to(GUP_WAIT)
    assert not reader.can_run()
    assert thread.finish().result
    reader.finish()
    pages = [stage.m.host.pages[int(pfn)] for pfn in stage.m.host.pte[:4]]
    assert [page.head for page in pages] == [int(pfn) for pfn in stage.m.host.pte[:4]]
    assert [int(page.refcount) for page in pages] == [1] * 4
    assert [int(page.locked_by) for page in pages] == [-1, MM, -1, -1]
    assert [int(page.data) for page in pages] == [writer.uid + 1 for writer in writers]
    folio_unlock(stage.m, stage.m.host.pte[1])
    assert stage.final_violations() == []


@pytest.mark.parametrize("late", [False, True])
def test_a_page_that_is_held_is_not_split(late: bool, semantics: Semantics) -> None:
    """Nor is its PTE, unless it is found out only when the count is frozen."""
    stage = Stage(semantics, backing=("thp", "anon"))
    thread = split(stage, 1)
    if late:
        thread.step()
    holder = stage.access(0, 2).to(FAULT_PFN)
    assert not thread.finish().result
    assert stage.m.host.huge == [not late, False]
    assert stage.m.host.folio(stage.m.host.pte[1]).large
    holder.finish()
    folio_unlock(stage.m, stage.m.host.pte[1])
    assert stage.final_violations() == []


def test_pages_that_are_thrown_away_meanwhile_are_freed(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    pages = [int(pfn) for pfn in stage.m.host.pte[:4]]
    thread = split(stage, 1).to(SPLIT_FREEZE)
    stage.run(DEVICE, madvise_dontneed(stage.m, 2, 4))
    assert thread.finish().result
    assert [stage.m.host.pages[pfn].freed for pfn in pages] == [False, False, True, True]
    folio_unlock(stage.m, pages[1])
    assert stage.final_violations() == []
