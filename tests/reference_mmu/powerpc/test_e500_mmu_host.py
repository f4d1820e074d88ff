# SPDX-License-Identifier: GPL-2.0-only
"""A TLB miss on e500: what of the page is taken, marked and put, and what an invalidation still reaches."""

from typing import Any, Final

import pytest

from reference_mmu.changelog.semantics import OLD, parse_semantics
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_ERROR, PF_FIXED, PF_RETRY
from reference_mmu.powerpc.points import E500_ENTER, E500_LOCK, E500_PUT, E500_WRITE
from tests.by_hand import MM
from tests.powerpc_by_hand import PowerpcStage

BEFORE_UNLOCK = parse_semantics("old+e500-dirty-in-shadow-map+e500-accessed-before-unlock")
PFNMAP: Final[dict[str, Any]] = {"backing": ("pfnmap-refcounted", "pfnmap-refcounted")}


def test_a_page_is_marked_and_put_before_mmu_lock_is_released() -> None:
    stage = PowerpcStage("e500", BEFORE_UNLOCK)
    assert stage.read(1, 1).faults == [PF_FIXED]
    page = stage.m.host.pages[stage.m.host.pte[1]]
    assert (page.accessed, page.dirty, page.kvm_refs) == (1, True, 0)
    assert stage.final_violations() == []


def test_it_was_marked_twice_once_after_that() -> None:
    stage = PowerpcStage("e500", OLD)
    load = stage.access(1, 1).to(E500_PUT)
    assert stage.violations == []
    load.finish()
    assert stage.m.host.pages[stage.m.host.pte[1]].accessed == 2
    assert stage.violations == ["late-page-mark"]


@pytest.mark.parametrize(
    ("point", "faults"),
    [(E500_LOCK, [PF_RETRY, PF_FIXED]), (E500_WRITE, [PF_FIXED, PF_FIXED])],
    ids=["looked up again", "written to the TLB late"],
)
def test_a_stale_page_goes_before_or_with_the_request_of_the_invalidation(point: int, faults: list[int]) -> None:
    stage = PowerpcStage("e500", BEFORE_UNLOCK)
    load = stage.access(1, 1).to(point)
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    load.finish()
    assert load.faults == faults
    assert stage.final_violations() == []


def test_a_vcpu_that_is_in_the_guest_is_thrown_out_by_an_invalidation() -> None:
    stage = PowerpcStage("e500", BEFORE_UNLOCK)
    stage.read(1, 1)
    load = stage.access(1, 1).to(E500_ENTER)
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    load.finish()
    assert load.faults == [PF_FIXED, PF_FIXED]  # of the first load, and of this one
    assert stage.final_violations() == []


@pytest.mark.parametrize(("semantics", "violations"), [("old", True), ("new", False)])
def test_memory_mapped_by_pfn_under_tlb1_is_put_though_nobody_took_it(semantics: str, violations: bool) -> None:
    stage = PowerpcStage("e500", parse_semantics(semantics), **PFNMAP)
    assert stage.read(0, 1).faults == [PF_FIXED]
    assert ("refcount-underflow" in stage.violations) == violations
    # It is put by the pfn of the entry, which is of the whole block.
    assert stage.m.host.pages[stage.m.host.pte[0]].refcount == (0 if violations else 1)


def test_as_committed_no_other_fault_succeeds() -> None:
    stage = PowerpcStage("e500", parse_semantics("new"))
    assert stage.read(1, 1).faults == [PF_ERROR]
    assert stage.violations == ["warn"]
