# SPDX-License-Identifier: GPL-2.0-only
"""References and pins: dropped by whom, and where, they were taken."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.mm.fork import dup_mmap
from reference_mmu.mm.gup import FOLL_WRITE, get_user_pages_unlocked
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mmap import mmap_fixed, munmap
from reference_mmu.mm.vmscan import shrink_folio_list
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import MM, Stage
from tests.parameters import EVERY_MMU, EVERY_MMU_OF_BOTH

# --- accepts ---------------------------------------------------------------------------------------------------


@EVERY_MMU_OF_BOTH
@pytest.mark.parametrize("kind", ["anon", "thp", "cow", "untouched", "hugetlb", "fsdax", "devdax", "pfnmap-refcounted"])
def test_accepts_what_faults_take_and_drop(kind: str, mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, backing=(kind, "anon"))
    for gfn in (1, 2):
        stage.read(0, gfn)
        stage.write(1, gfn)
    assert [hold.count for hold in stage.judge.references.holds if hold.count != 0] == []
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["anon", "thp", "cow", "ksm", "untouched", "shmem", "hugetlb", "pfnmap-refcounted"])
def test_accepts_how_the_host_counts_its_pages(kind: str) -> None:
    stage = Stage(NEW, backing=(kind, "anon"))
    m = stage.m
    stage.read(0, 1)
    for flow in (dup_mmap(m), migrate_page(m, 2), shrink_folio_list(m, 3), discard(m, 0, 1), mmap_fixed(m, 4)):
        stage.run(MM, flow)
        stage.write(1, 1)
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("refcount-leak")
def test_rejects_a_reference_that_is_never_dropped() -> None:
    stage = Stage()
    stage.take(int(stage.m.host.pte[1]))
    assert stage.final_violations() == ["refcount-leak"]


@pytest.mark.reaches("refcount-underflow")
def test_rejects_a_reference_dropped_twice() -> None:
    stage = Stage()
    pfn = int(stage.m.host.pte[1])
    stage.take(pfn)
    stage.m.kvm_put_page(pfn)
    assert stage.violations == []
    stage.m.kvm_put_page(pfn)
    assert stage.violations[0] == "refcount-underflow"


@pytest.mark.parametrize("drop", ["never", "twice"])
@pytest.mark.reaches("refcount-differs")
def test_rejects_a_page_that_the_host_counts_wrong(drop: str) -> None:
    """As if migrate_page() had not put the page that it has copied, or more than that."""
    stage = Stage()
    old = int(stage.m.host.pte[1])
    stage.run(MM, migrate_page(stage.m, 1))
    stage.m.host.pages[old].refcount = 1 if drop == "never" else -1
    assert stage.final_violations() == ["refcount-differs"]


def test_rejects_a_reference_that_another_actor_has_taken() -> None:
    """The counts balance, until the other one drops it, too."""
    stage = Stage()
    pfn = int(stage.m.host.pte[1])
    stage.take(pfn)
    stage.m.actor = 1
    stage.m.kvm_put_page(pfn)
    assert stage.violations == ["refcount-underflow"]


@EVERY_MMU
@pytest.mark.reaches("released-with-wrong-page")
def test_rejects_the_page_that_a_huge_mapping_begins_with(mmu: str) -> None:
    """x86 before x86-put-refcounted-page-not-pfn: on persistent memory each page is a folio of its own."""
    stage = Stage(OLD, mmu=mmu, backing=("fsdax", "anon"))
    stage.read(0, 1)
    assert stage.level(1) == 2
    assert "released-with-wrong-page" in stage.violations
    assert "refcount-leak" in stage.final_violations()


@pytest.mark.reaches("sleeping-gup")
def test_rejects_gup_that_may_sleep_under_mmu_lock() -> None:
    stage = Stage()
    stage.m.mmu_lock.read_lock(0)
    stage.run(0, get_user_pages_unlocked(stage.m, 1, FOLL_WRITE))
    assert stage.violations[0] == "sleeping-gup"


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_reference_held_while_the_page_is_unmapped() -> None:
    """The fault holds the page that migration has unmapped; it goes stale, and migration gives up."""
    stage = Stage()
    reader = stage.access(0, 1).to(FAULT_PFN)
    pfn = int(stage.m.host.pte[1])
    assert stage.m.host.pages[pfn].kvm_refs == 1
    stage.run(MM, migrate_page(stage.m, 1))
    assert int(stage.m.host.pte[1]) == pfn
    reader.finish()
    assert stage.final_violations() == []


def test_legal_the_first_page_of_a_huge_mapping_if_it_is_one_folio() -> None:
    stage = Stage(OLD, backing=("thp", "anon"))
    stage.read(0, 1)
    assert stage.level(1) == 2
    assert "released-with-wrong-page" not in stage.final_violations()


def test_legal_two_actors_with_a_reference_each() -> None:
    stage = Stage()
    readers = [stage.access(vcpu, 1).to(FAULT_PFN) for vcpu in (0, 1)]
    assert stage.m.host.folio(stage.m.host.pte[1]).kvm_refs == 2
    for reader in readers:
        reader.finish()
    assert stage.final_violations() == []


def test_legal_a_page_that_the_process_has_left_to_its_child() -> None:
    """The parent writes, and gets a copy; nobody but the child holds the old one, and never lets go."""
    stage = Stage()
    old = int(stage.m.host.pte[1])
    stage.run(MM, dup_mmap(stage.m))
    stage.write(0, 1)
    page = stage.m.host.pages[old]
    assert (int(stage.m.host.pte[1]) != old, page.freed, page.refcount) == (True, False, 1)
    assert stage.final_violations() == []


def test_legal_a_driver_that_keeps_what_nobody_maps_any_more() -> None:
    stage = Stage(NEW, backing=("pfnmap-refcounted", "anon"))
    old = int(stage.m.host.pte[1])
    stage.run(MM, munmap(stage.m, 1))
    assert (int(stage.m.host.pte[1]) < 0, stage.m.host.pages[old].refcount) == (True, 1)
    assert stage.final_violations() == []
