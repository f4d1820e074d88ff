# SPDX-License-Identifier: GPL-2.0-only
"""Reclaim: what looks young, is pinned or held stays; what is dirty is written out first; a swap entry is left."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.mm.host import HOST_SHARED, PTE_EMPTY, PTE_SWAP
from reference_mmu.mm.madvise import madvise_dontneed, madvise_populate
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.vmscan import shrink_folio_list
from reference_mmu.points import INV_CLEAN, INV_PRIMARY, MM_WAIT, RECLAIM_FREE, RECLAIM_WRITE
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, record_notifiers, told_of


def make_old(stage: Stage, first: int, end: int) -> None:
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, first, end))


@pytest.mark.parametrize("kind", ["anon", "file", "shmem", "untouched"])
def test_a_dirty_page_is_asked_unmapped_written_and_freed(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    writer = stage.write(0, 1)
    make_old(stage, 1, 2)
    pfn = int(stage.m.host.pte[1])
    calls = record_notifiers(stage)
    reclaim = stage.run(MM, shrink_folio_list(stage.m, 1))
    assert calls == [("young", 1, 2), *pair(1, 2)]
    assert reclaim.points.index(INV_PRIMARY) < reclaim.points.index(RECLAIM_WRITE) < reclaim.points.index(RECLAIM_FREE)
    assert int(stage.m.host.pte[1]) == PTE_SWAP
    assert stage.m.host.pages[pfn].freed
    assert int(stage.m.host.swap[1]) == writer.uid + 1
    stage.read(0, 1)
    assert stage.final_violations() == []


def test_a_young_page_stays(stage: Stage) -> None:
    stage.write(0, 1)
    pfn = int(stage.m.host.pte[1])
    assert told_of(stage, shrink_folio_list(stage.m, 1)) == [("young", 1, 2)]
    assert (int(stage.m.host.pte[1]), int(stage.m.host.pages[pfn].locked_by)) == (pfn, -1)


def test_a_page_that_kvm_holds_stays_in_the_swap_cache(stage: Stage) -> None:
    pfn = int(stage.m.host.pte[1])
    holder = stage.access(0, 1).to(FAULT_PFN)
    stage.run(MM, shrink_folio_list(stage.m, 1))
    assert (int(stage.m.host.pte[1]), int(stage.m.host.swap_cache[1])) == (PTE_SWAP, pfn)
    assert not stage.m.host.pages[pfn].freed
    holder.finish()
    assert int(stage.m.host.pte[1]) == pfn
    assert stage.final_violations() == []


def test_a_page_that_may_be_pinned_is_not_even_unmapped(stage: Stage) -> None:
    pfn = int(stage.m.host.pte[1])
    stage.m.host.pin(pfn)
    assert told_of(stage, shrink_folio_list(stage.m, 1)) == [("young", 1, 2)]
    assert int(stage.m.host.pte[1]) == pfn


def test_a_page_that_another_process_maps_is_unmapped_here_and_found_again(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("cow", "anon"))
    pfn = int(stage.m.host.pte[1])
    stage.run(MM, shrink_folio_list(stage.m, 1))
    assert (int(stage.m.host.pte[1]), int(stage.m.host.swap_cache[1])) == (PTE_SWAP, pfn)
    stage.run(MM, madvise_populate(stage.m, 1, False))
    assert (int(stage.m.host.pte[1]), int(stage.m.host.flags[1])) == (pfn, HOST_SHARED)
    assert stage.final_violations() == []


def test_a_huge_page_is_asked_as_a_whole_and_split(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    writers = [stage.write(0, gfn) for gfn in range(4)]
    make_old(stage, 0, 4)
    assert told_of(stage, shrink_folio_list(stage.m, 1)) == [("young", 0, 4), *pair(0, 4), *pair(1, 2)]
    assert [int(pte) == PTE_SWAP for pte in stage.m.host.pte][:4] == [False, True, False, False]
    assert [int(stage.m.host.contents(hva)) for hva in range(4)] == [writer.uid + 1 for writer in writers]
    for gfn in range(4):
        stage.read(1, gfn)
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["hugetlb", "devdax", "pfnmap-reserved", "readonly"])
def test_what_is_on_no_lru_list_is_left_alone(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    assert told_of(stage, shrink_folio_list(stage.m, 1)) == []


def test_a_page_thrown_away_while_it_is_written_out_is_freed_and_not_written(stage: Stage) -> None:
    stage.write(0, 1)
    make_old(stage, 1, 2)
    pfn = int(stage.m.host.pte[1])
    reclaim = stage.thread(MM, shrink_folio_list(stage.m, 1)).to(RECLAIM_WRITE)
    stage.run(DEVICE, madvise_dontneed(stage.m, 1, 2))
    assert not stage.m.host.pages[pfn].freed
    writer = stage.write(0, 1)
    reclaim.finish()
    assert stage.m.host.pages[pfn].freed
    assert (int(stage.m.host.swap[1]), int(stage.m.host.contents(1))) == (0, writer.uid + 1)
    assert stage.final_violations() == []


def test_a_page_that_somebody_has_locked_is_passed_over_or_waited_for(stage: Stage) -> None:
    migration = stage.thread(MM, migrate_page(stage.m, 1)).to(INV_CLEAN)
    assert told_of(stage, shrink_folio_list(stage.m, 1), DEVICE) == []
    other = stage.thread(DEVICE, migrate_page(stage.m, 1)).to(MM_WAIT)
    assert not other.can_run()
    migration.finish()
    other.finish()
    assert stage.final_violations() == []


def test_migration_of_a_page_thrown_away_meanwhile_brings_nothing_back(stage: Stage) -> None:
    stage.write(0, 1)
    pfn = int(stage.m.host.pte[1])
    migration = stage.thread(MM, migrate_page(stage.m, 1)).to(INV_CLEAN)
    stage.run(DEVICE, madvise_dontneed(stage.m, 1, 2))
    migration.finish()
    assert int(stage.m.host.pte[1]) == PTE_EMPTY
    assert stage.m.host.pages[pfn].freed
    stage.read(0, 1)
    assert stage.final_violations() == []
