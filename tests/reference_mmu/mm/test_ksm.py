# SPDX-License-Identifier: GPL-2.0-only
"""KSM: write-protected, compared, replaced; not if somebody holds the page or writes it meanwhile."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.host import HOST_D, HOST_SHARED, HOST_W
from reference_mmu.mm.ksm import try_to_merge_with_ksm_page
from reference_mmu.mm.madvise import madvise_populate
from reference_mmu.mm.mmap import munmap
from reference_mmu.points import INV_PRIMARY, KSM_COMPARE
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, record_notifiers, told_of


def test_a_page_is_protected_compared_and_replaced(stage: Stage) -> None:
    writer = stage.write(0, 1)
    before = int(stage.m.host.pte[1])
    calls = record_notifiers(stage)
    merge = stage.run(MM, try_to_merge_with_ksm_page(stage.m, 1))
    assert calls == [*pair(1, 2), *pair(1, 2)]
    assert merge.points.count(KSM_COMPARE) == 1
    merged = int(stage.m.host.pte[1])
    assert merged != before
    assert stage.m.host.pages[before].freed
    assert (int(stage.m.host.flags[1]), int(stage.m.host.pages[merged].refcount)) == (HOST_SHARED, 2)
    assert int(stage.m.host.contents(1)) == writer.uid + 1
    stage.write(0, 1)
    assert int(stage.m.host.pte[1]) != merged
    assert not stage.m.host.pages[merged].freed
    assert stage.final_violations() == []


def test_a_page_that_somebody_holds_is_not_merged(stage: Stage) -> None:
    before = int(stage.m.host.pte[1])
    holder = stage.access(0, 1).to(FAULT_PFN)
    assert told_of(stage, try_to_merge_with_ksm_page(stage.m, 1)) == pair(1, 2)
    assert (int(stage.m.host.pte[1]), int(stage.m.host.flags[1])) == (before, HOST_W | HOST_D)
    holder.finish()
    assert stage.final_violations() == []


def test_a_write_before_it_is_protected_spoils_the_merge(stage: Stage) -> None:
    stage.write(0, 1)
    merge = stage.thread(MM, try_to_merge_with_ksm_page(stage.m, 1))
    merge.step()
    writer = stage.write(0, 1)
    calls = record_notifiers(stage)
    merge.finish()
    assert [kind for kind, _, _ in calls] == ["end"]
    assert int(stage.m.host.contents(1)) == writer.uid + 1
    assert stage.final_violations() == []


def test_a_write_after_that_copies_the_page_since_it_is_locked(stage: Stage) -> None:
    stage.write(0, 1)
    before = int(stage.m.host.pte[1])
    merge = stage.thread(MM, try_to_merge_with_ksm_page(stage.m, 1)).to(KSM_COMPARE)
    writer = stage.write(0, 1)
    copy = int(stage.m.host.pte[1])
    assert copy != before
    assert not stage.m.host.pages[before].freed
    merge.finish()
    assert stage.m.host.pages[before].freed
    assert (int(stage.m.host.pte[1]), int(stage.m.host.contents(1))) == (copy, writer.uid + 1)
    assert stage.final_violations() == []


def test_once_it_is_unlocked_the_next_write_reuses_a_page_that_was_not_merged(stage: Stage) -> None:
    """It was protected, and something else came of comparing it."""
    merge = stage.thread(MM, try_to_merge_with_ksm_page(stage.m, 1)).to(KSM_COMPARE)
    before = int(stage.m.host.pte[1])
    stage.m.host.pages[before].data = stage.m.host.reference[1] = 77
    merge.finish()
    assert int(stage.m.host.flags[1]) == HOST_SHARED
    stage.write(0, 1)
    assert (int(stage.m.host.pte[1]), int(stage.m.host.flags[1])) == (before, HOST_W | HOST_D)
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["file", "untouched", "hugetlb", "pfnmap-reserved"])
def test_only_anonymous_pages_are_merged(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.run(DEVICE, madvise_populate(stage.m, 1, False))
    before = int(stage.m.host.pte[1])
    assert told_of(stage, try_to_merge_with_ksm_page(stage.m, 1)) == []
    assert int(stage.m.host.pte[1]) == before


def test_ksmd_finds_no_vma_once_it_is_detached(stage: Stage) -> None:
    unmap = stage.thread(DEVICE, munmap(stage.m, 1)).to(INV_PRIMARY)
    assert told_of(stage, try_to_merge_with_ksm_page(stage.m, 1)) == []
    unmap.finish()
    assert stage.final_violations() == []


def test_a_huge_page_is_split_first(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    writers = [stage.write(0, gfn) for gfn in range(4)]
    assert told_of(stage, try_to_merge_with_ksm_page(stage.m, 1)) == [*pair(0, 4), *pair(1, 2), *pair(1, 2)]
    assert [bool(flags & HOST_SHARED) for flags in stage.m.host.flags[:4]] == [False, True, False, False]
    assert [int(stage.m.host.contents(hva)) for hva in range(4)] == [writer.uid + 1 for writer in writers]
    assert stage.final_violations() == []
