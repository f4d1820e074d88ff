# SPDX-License-Identifier: GPL-2.0-only
"""PR mode: when a page is marked, what a stale fault leaves behind, and what 32 bits miss; patched instructions."""

from typing import Any, Final

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_FIXED, PF_RETRY
from reference_mmu.operations import MISHAP_NO_MEMORY
from reference_mmu.powerpc.points import DCBZ_PATCH, PR32_INSERT, PR_LOCK
from tests.by_hand import MM
from tests.powerpc_by_hand import PowerpcStage

SHMEM: Final[dict[str, Any]] = {"backing": ("shmem", "shmem")}


@pytest.mark.parametrize(("semantics", "violations"), [(OLD, ["late-page-mark"]), (NEW, [])], ids=["old", "new"])
def test_marks_come_under_mmu_lock(semantics: Semantics, violations: list[str]) -> None:
    stage = PowerpcStage("book3s_pr", semantics)
    assert stage.write(0, 1).faults == [PF_FIXED]
    assert stage.m.host.pages[stage.m.host.pte[1]].dirty
    assert stage.final_violations() == violations


def test_a_stale_page_is_let_go_of_as_used() -> None:
    stage = PowerpcStage("book3s_pr", **SHMEM)
    load = stage.access(0, 1).to(PR_LOCK)
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    page = stage.m.host.pages[stage.m.host.pte[1]]
    load.step()
    assert not stage.cached(0, 1)
    assert (page.dirty, page.accessed) == (True, 1)
    load.finish()
    assert load.faults == [PF_RETRY, PF_FIXED]


def test_32_bits_miss_an_invalidation() -> None:
    stage = PowerpcStage("book3s_pr_32")
    load = stage.access(0, 1).to(PR32_INSERT)
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    load.finish()
    assert load.faults == [PF_FIXED]


def test_32_bits_never_mark_dirty() -> None:
    stage = PowerpcStage("book3s_pr_32", **SHMEM)
    stage.write(0, 1)
    assert not stage.m.host.pages[stage.m.host.pte[1]].dirty


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, 1), (NEW, 0)], ids=["old", "new"])
def test_an_entry_without_a_record_stays_and_its_page_is_let_go_of(semantics: Semantics, marks: int) -> None:
    stage = PowerpcStage("book3s_pr_32", semantics)
    stage.m.mishaps = MISHAP_NO_MEMORY
    assert stage.read(0, 1).faults == [PF_RETRY]
    stage.m.mishaps = 0
    assert stage.m.host.pages[stage.m.host.pte[1]].accessed == marks
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    assert stage.cached(0, 1)


# --- dcbz ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("semantics", "references"), [("old", 1), ("old+ppc-dcbz-drop-extra-get-page", 0), ("new", 0)])
def test_patching_takes_a_reference_too_many(semantics: str, references: int) -> None:
    stage = PowerpcStage("book3s_pr", parse_semantics(semantics))
    stage.patch_dcbz(1).finish()
    assert stage.m.host.pages[stage.m.host.pte[1]].kvm_refs == references


@pytest.mark.parametrize(("semantics", "marked"), [(OLD, False), (NEW, True)], ids=["old", "new"])
def test_a_patched_page_is_pinned_and_marked_dirty(semantics: Semantics, marked: bool) -> None:
    stage = PowerpcStage("book3s_pr", semantics, **SHMEM)
    patch = stage.patch_dcbz(1).to(DCBZ_PATCH)
    page = stage.m.host.pages[stage.m.host.pte[1]]
    assert page.kvm_pins == marked
    patch.finish()
    assert page.dirty == marked
    assert ("unsaved-write" in stage.final_violations()) == (not marked)
