# SPDX-License-Identifier: GPL-2.0-only
"""khugepaged: the page table goes, then pages are locked and copied; it comes back if one is missing or in use."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.fork import dup_mmap
from reference_mmu.mm.khugepaged import collapse_huge_page
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.vmscan import shrink_folio_list
from reference_mmu.points import INV_CLEAN, KHUGEPAGED_COPY, KHUGEPAGED_ISOLATE, MMAP_READ
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, record_notifiers, told_of


def test_pages_are_copied_after_the_invalidation(stage: Stage) -> None:
    writers = [stage.write(0, gfn) for gfn in range(4)]
    old = [stage.m.host.pages[int(pfn)] for pfn in stage.m.host.pte[:4]]
    calls = record_notifiers(stage)
    collapse = stage.thread(MM, collapse_huge_page(stage.m, 1)).to(KHUGEPAGED_ISOLATE)
    assert calls == pair(0, 4)
    collapse.to(KHUGEPAGED_COPY)
    assert not any(page.freed for page in old)
    collapse.finish()
    assert all(page.freed for page in old)
    assert stage.m.host.huge == [True, False]
    assert [int(stage.m.host.contents(hva)) for hva in range(4)] == [writer.uid + 1 for writer in writers]
    assert stage.m.host.folio(int(stage.m.host.pte[3])).large
    stage.read(0, 1)
    assert stage.level(1) == 2
    assert stage.final_violations() == []


def test_a_fault_waits_for_the_huge_page(stage: Stage) -> None:
    collapse = stage.thread(MM, collapse_huge_page(stage.m, 1)).to(KHUGEPAGED_COPY)
    writer = stage.access(0, 1, write=True).to(MMAP_READ)
    assert not writer.can_run()
    collapse.finish()
    writer.finish()
    assert stage.level(1) == 2
    assert stage.final_violations() == []


def test_a_page_that_kvm_holds_brings_the_page_table_back(stage: Stage) -> None:
    before = [int(pfn) for pfn in stage.m.host.pte]
    holder = stage.access(0, 2).to(FAULT_PFN)
    stage.run(MM, collapse_huge_page(stage.m, 1))
    holder.finish()
    assert ([int(pfn) for pfn in stage.m.host.pte], stage.m.host.huge) == (before, [False, False])
    assert {int(page.locked_by) for page in stage.m.host.pages} == {-1}
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["cow", "untouched", "swapped"])
def test_a_page_that_is_shared_or_missing_does_so_too(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    before = [int(pfn) for pfn in stage.m.host.pte]
    collapse = stage.run(MM, collapse_huge_page(stage.m, 1))
    assert KHUGEPAGED_COPY not in collapse.points
    assert [int(pfn) for pfn in stage.m.host.pte] == before
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["thp", "file", "hugetlb", "readonly", "pfnmap-reserved"])
def test_what_is_huge_or_not_anonymous_is_left_alone(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    assert told_of(stage, collapse_huge_page(stage.m, 1)) == []


def test_others_at_work_on_a_page_and_khugepaged_leave_each_other_alone(stage: Stage) -> None:
    writers = [stage.write(0, gfn) for gfn in range(4)]
    migration = stage.thread(MM, migrate_page(stage.m, 1)).to(INV_CLEAN)
    collapse = stage.thread(DEVICE, collapse_huge_page(stage.m, 1)).to(KHUGEPAGED_ISOLATE)
    reclaim = stage.run(4, shrink_folio_list(stage.m, 2))
    assert reclaim.points == []
    collapse.finish()
    migration.finish()
    assert stage.m.host.huge == [False, False]
    assert [int(stage.m.host.contents(hva)) for hva in range(4)] == [writer.uid + 1 for writer in writers]
    stage.run(MM, dup_mmap(stage.m))
    assert stage.final_violations() == []
