# SPDX-License-Identifier: GPL-2.0-only
"""PR mode: when a page is marked, what a stale fault leaves behind, and what 32 bits miss; patched instructions."""

from typing import Any, Final

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import EV_HARVEST, PF_ERROR, PF_FIXED, PF_RETRY
from reference_mmu.operations import GET_LOG, MISHAP_NO_MEMORY, MISHAP_NO_SEGMENT, Call
from reference_mmu.powerpc.book3s_pr import Book3sPr
from reference_mmu.powerpc.points import DCBZ_PATCH, GET_CLEAR, GET_PFLUSH, PR32_INSERT, PR_LOCK
from tests.by_hand import IOCTL, MM, Thread
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


@pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])
def test_a_segment_that_is_not_mapped_keeps_the_page(semantics: Semantics) -> None:
    stage = PowerpcStage("book3s_pr", semantics)
    stage.m.mishaps = MISHAP_NO_SEGMENT
    assert stage.write(0, 1).faults == [PF_ERROR]
    page = stage.m.host.pages[stage.m.host.pte[1]]
    assert (page.kvm_refs, page.dirty, page.accessed, stage.cached(0, 1)) == (1, False, 0, 0)
    assert stage.final_violations() == ["warn", "refcount-leak"]


@pytest.mark.parametrize(("flavour", "writable"), [("book3s_pr", False), ("book3s_pr_32", True)])
def test_beside_an_older_entry_a_new_one_is_of_no_use(flavour: str, writable: bool) -> None:
    stage = PowerpcStage(flavour)
    stage.access(0, 1, upgrade_fails=True).finish()
    m, vcpu = stage.m, stage.m.vcpus[0]
    assert isinstance(m, Book3sPr)
    m.map_tlb(vcpu, 1, 1, m.host.pte[1], True)
    assert (stage.cached(0, 1) & TLB_W != 0) == writable
    m.kvmppc_mmu_pte_pflush(vcpu, 1, 2)
    m.map_tlb(vcpu, 1, 1, m.host.pte[1], True)
    assert stage.cached(0, 1) & TLB_W


# --- the dirty log -------------------------------------------------------------------------------------------------

LOGGING: Final[dict[str, Any]] = {"slots": (SlotConfig(base=0, npages=8, hva=0, logging=True),)}
BOTH_BITS = pytest.mark.parametrize("flavour", ["book3s_pr", "book3s_pr_32"])


def get_log(stage: PowerpcStage) -> Thread:
    return stage.thread(IOCTL, stage.m.start(IOCTL, Call(0, GET_LOG, 0)))


@BOTH_BITS
def test_reading_the_log_drops_what_may_be_written_by_any_vcpu(flavour: str) -> None:
    stage = PowerpcStage(flavour, **LOGGING)
    stage.write(0, 1)
    stage.write(1, 2)
    assert get_log(stage).finish().kinds().count(EV_HARVEST) == 1
    assert (stage.cached(0, 1), stage.cached(1, 2), stage.dirty(1), stage.dirty(2)) == (0, 0, False, False)
    stage.write(0, 1)
    assert stage.dirty(1)
    assert "lost-dirty-page" not in stage.final_violations()


def test_a_read_that_may_write_is_logged_and_one_that_may_not_is_not() -> None:
    stage = PowerpcStage("book3s_pr", **LOGGING)
    stage.read(0, 1)
    stage.access(0, 2, upgrade_fails=True).finish()
    assert (stage.dirty(1), stage.dirty(2)) == (True, False)


def test_a_log_that_has_nothing_to_tell_drops_nothing() -> None:
    stage = PowerpcStage("book3s_pr", **LOGGING)
    stage.access(0, 1, upgrade_fails=True).finish()
    assert get_log(stage).finish().events() == []
    assert stage.cached(0, 1)


def test_what_was_writable_before_the_log_began_is_written_unseen() -> None:
    stage = PowerpcStage("book3s_pr")
    stage.write(0, 1)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    stage.write(0, 1)
    assert not stage.dirty(1)
    assert stage.final_violations() == ["writable-after-dirty-log", "lost-dirty-page"]


@pytest.mark.parametrize("point", [GET_PFLUSH, GET_CLEAR])
def test_what_is_logged_after_the_copy_is_lost(point: int) -> None:
    stage = PowerpcStage("book3s_pr", **LOGGING)
    stage.write(0, 1)
    harvest = get_log(stage).to(point)
    stage.write(1, 2)
    harvest.finish()
    assert not stage.dirty(2)
    assert "lost-dirty-page" in stage.final_violations()


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
