# SPDX-License-Identifier: GPL-2.0-only
"""The data abort of arm64: what each step of it does to table, page and log, before the series and after it."""

from functools import partial
from typing import Any

import pytest

from reference_mmu.arm64.points import (
    ACCESS_LOCK,
    ACCESS_MARK,
    FAULT_GUP,
    FAULT_LOCK,
    FAULT_LOG,
    FAULT_MARK,
    FAULT_PUT,
    FAULT_SEQ,
    RELAX_TLBI,
)
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log, kvm_get_dirty_log_protect
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_invalidate_range_start
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.mm.vmscan import shrink_folio
from reference_mmu.observed import PF_EMULATE, PF_ERROR, PF_FAST, PF_FIXED, PF_INJECTED, PF_RETRY
from reference_mmu.operations import FETCH, MISHAP_NO_MEMORY, Call
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_writable, pfn_of
from tests.by_hand import IOCTL, MM, Thread
from tests.stage2_by_hand import HUGE, LOGGING, OLD_AND_NEW, Stage2Stage

stage = partial(Stage2Stage, "arm64")


# --- what is mapped ------------------------------------------------------------------------------------------------


@OLD_AND_NEW
def test_a_read_maps_writable_what_the_host_lets_write(semantics: Semantics) -> None:
    arm = stage(semantics)
    assert arm.read(0, 1).faults == [PF_FIXED]
    assert arm.leaf(1) & (S2_WRITE | S2_YOUNG) == S2_WRITE | S2_YOUNG
    assert arm.write(0, 1).faults == []


@OLD_AND_NEW
def test_the_block_of_a_huge_page(semantics: Semantics) -> None:
    arm = stage(semantics, **HUGE)
    arm.write(0, 6)
    assert arm.level(4) == arm.level(7) == 2
    assert pfn_of(arm.leaf(6)) == arm.m.host.pte[4]
    assert arm.level(0) == 0
    assert arm.final_violations() == ([] if semantics == NEW else ["late-page-mark"])


@pytest.mark.parametrize("slot", [SlotConfig(base=1, npages=7, hva=0), SlotConfig(base=4, npages=3, hva=4)])
def test_no_block_of_what_is_not_aligned_or_not_whole_in_the_slot(slot: SlotConfig) -> None:
    arm = stage(slots=(slot,), **HUGE)
    arm.read(0, 5)
    assert arm.level(5) == 1


def test_no_block_while_the_slot_logs() -> None:
    arm = stage(**HUGE, **LOGGING)
    arm.write(0, 5)
    assert [arm.level(gfn) for gfn in range(4, 8)] == [0, 1, 0, 0]


@pytest.mark.parametrize("kind", ["fsdax", "devdax"])
def test_no_block_of_device_memory(kind: str) -> None:
    """Persistent memory is not mapped by the kernel as its own, so it is a device, whatever the host's PTE spans."""
    arm = stage(backing=(kind, "anon"))
    arm.read(0, 1)
    assert arm.level(1) == 1


def fetched(arm: Stage2Stage, gfn: int) -> Thread:
    """vCPU 0 fetches an instruction, to the end."""
    return arm.thread(0, arm.m.start(0, Call(0, FETCH, gfn))).finish()


@OLD_AND_NEW
@pytest.mark.parametrize("is_mapped", [False, True])
def test_device_memory_is_never_executable_and_its_page_not_let_go_of(semantics: Semantics, is_mapped: bool) -> None:
    arm = stage(semantics, backing=("fsdax", "anon"))
    if is_mapped:
        assert arm.read(0, 1).faults == [PF_FIXED]
    assert fetched(arm, 1).faults == [PF_INJECTED]
    assert arm.m.host.pages[arm.m.host.pte[1]].kvm_refs == 1
    assert "refcount-leak" in arm.final_violations()


@OLD_AND_NEW
def test_what_is_mapped_for_a_fetch_may_be_read_and_the_other_way_round(semantics: Semantics) -> None:
    arm = stage(semantics)
    assert fetched(arm, 1).faults == [PF_FIXED]
    assert arm.read(0, 1).faults == fetched(arm, 1).faults == []
    assert "refcount-leak" not in arm.final_violations()


def test_a_fetch_meets_the_leaf_that_another_vcpu_has_mapped() -> None:
    arm = stage(backing=("fsdax", "anon"))
    arm.read(1, 1)
    assert fetched(arm, 1).faults == [PF_INJECTED]


def test_device_memory_is_mapped_writable_also_for_a_read_that_is_logged() -> None:
    arm = stage(backing=("fsdax", "anon"), **LOGGING)
    arm.read(0, 1)
    arm.read(0, 5)
    assert is_writable(arm.leaf(1))
    assert arm.dirty(1)
    assert not is_writable(arm.leaf(5))


# --- what userspace has to do ----------------------------------------------------------------------------------------


def test_what_no_slot_has_is_mmio() -> None:
    assert stage().read(0, 9).faults == [PF_EMULATE]


def test_a_store_to_a_read_only_slot_is_mmio_and_a_load_is_not() -> None:
    arm = stage(slots=(SlotConfig(base=0, npages=8, hva=0, readonly=True),))
    assert arm.read(0, 1).faults == [PF_FIXED]
    assert not is_writable(arm.leaf(1))
    assert arm.write(0, 1).faults == [PF_EMULATE]


def test_a_page_that_cannot_be_had_is_an_error() -> None:
    assert stage(backing=("hwpoison", "anon")).read(0, 1).faults == [PF_ERROR]


def test_no_memory_for_tables() -> None:
    arm = stage()
    arm.m.mishaps = MISHAP_NO_MEMORY
    assert arm.read(0, 1).faults == [PF_ERROR]
    assert arm.leaf(1) == 0


# --- permission faults ---------------------------------------------------------------------------------------------


def test_rights_are_added_in_place_and_this_cpu_drops_its_entry() -> None:
    arm = stage()
    arm.access(0, 1, upgrade_fails=True).finish()
    arm.access(1, 1, upgrade_fails=True).finish()
    assert not arm.leaf(1) & (S2_WRITE | S2_MAY_WRITE)
    store = arm.access(0, 1, write=True).to(RELAX_TLBI)
    assert is_writable(arm.leaf(1))
    assert arm.cached(0, 1)
    store.finish()
    assert store.faults == [PF_FIXED]
    # The other CPU faults from what it has cached, and finds that nothing is missing.
    assert arm.write(1, 1).faults == [PF_FIXED]
    assert arm.final_violations() == []


def test_rights_for_a_leaf_that_has_gone_meanwhile() -> None:
    arm = stage()
    arm.access(0, 1, upgrade_fails=True).finish()
    store = arm.access(0, 1, write=True).to(FAULT_SEQ)
    arm.run(MM, change_protection_numa(arm.m, 1, 2))
    store.finish()
    assert store.faults == [PF_RETRY, PF_FIXED]


def test_a_store_to_a_block_that_logs_puts_a_table_there() -> None:
    arm = stage(eager_split=False, **HUGE)
    arm.write(0, 5)
    arm.run(IOCTL, enable_dirty_log(arm.m, 0))
    assert arm.level(5) == 2
    assert not is_writable(arm.leaf(5))
    arm.write(0, 5)
    assert [arm.level(gfn) for gfn in range(4, 8)] == [0, 1, 0, 0]
    assert arm.dirty(5)
    assert arm.final_violations() == []


def test_a_block_comes_back_when_logging_ends() -> None:
    """In the place of the table, which is freed when no walk can be in it any more."""
    arm = stage(**HUGE)
    table = arm.table_of_log(5)
    arm.write(1, 5)
    assert arm.level(4) == 2
    assert table.freed
    assert arm.final_violations() == []


def test_a_table_may_be_missing_where_nobody_has_topped_the_cache_up() -> None:
    """A permission fault allocates nothing before mmu_lock. If its leaf and the tables above are taken away before the
    snapshot, and the page can be mapped as a block now, a table is missing: the kernel warns, and allocates it
    atomically."""
    arm = stage(**HUGE)
    arm.run(IOCTL, enable_dirty_log(arm.m, 0))
    arm.read(0, 5)
    arm.run(IOCTL, disable_dirty_log(arm.m, 0))
    store = arm.access(1, 5, write=True).to(FAULT_SEQ)
    arm.run(MM, change_protection_numa(arm.m, 4, 8))
    store.finish()
    assert store.warnings == 1
    assert arm.level(5) == 2


# --- access faults -------------------------------------------------------------------------------------------------


def aged(semantics: Semantics, **config: Any) -> Stage2Stage:
    """gfn 1 is mapped, and old; the page walker sets no access flag."""
    arm = stage(semantics, hardware_young=False, **config)
    arm.read(0, 1)
    arm.clear_young(0, 8)
    arm.m.flush_all()
    return arm


@OLD_AND_NEW
def test_an_access_fault_makes_the_leaf_young(semantics: Semantics) -> None:
    arm = aged(semantics)
    assert arm.read(0, 1).faults == [PF_FAST]
    assert arm.leaf(1) & S2_YOUNG


def test_it_marked_the_page_without_lock_and_reference() -> None:
    arm = aged(OLD)
    before = arm.m.host.folio(arm.m.host.pte[1]).accessed
    arm.judge.violations.clear()
    load = arm.access(0, 1).to(ACCESS_MARK)
    assert arm.violations == []
    load.finish()
    assert arm.m.host.folio(arm.m.host.pte[1]).accessed == before + 1
    assert arm.violations == ["mark-without-reference"]


def test_it_marks_nothing() -> None:
    arm = aged(NEW)
    before = arm.m.host.folio(arm.m.host.pte[1]).accessed
    assert ACCESS_MARK not in arm.read(0, 1).points
    assert arm.m.host.folio(arm.m.host.pte[1]).accessed == before
    assert arm.violations == []


@OLD_AND_NEW
def test_an_access_fault_on_a_leaf_that_has_gone_is_repeated(semantics: Semantics) -> None:
    arm = aged(semantics)
    load = arm.access(0, 1).to(ACCESS_LOCK)
    arm.run(MM, change_protection_numa(arm.m, 1, 2))
    before = arm.m.host.folio(arm.m.host.pte[1]).accessed
    load.finish()
    assert load.faults == [PF_RETRY, PF_FIXED]
    assert arm.m.host.folio(arm.m.host.pte[1]).accessed == before + 1  # by the second, which mapped it


# --- stale pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, 1), (NEW, 0)], ids=["old", "new"])
def test_a_page_that_went_away_meanwhile_is_not_mapped(semantics: Semantics, marks: int) -> None:
    """Before the series its page was marked accessed all the same."""
    arm = stage(semantics)
    store = arm.access(0, 1, write=True).to(FAULT_LOCK)
    invalidation = arm.thread(MM, kvm_mmu_notifier_invalidate_range_start(arm.m, 1, 2)).finish()
    before = arm.m.host.folio(arm.m.host.pte[1]).accessed
    store.to(FAULT_SEQ)  # once more
    assert store.faults == [PF_RETRY]
    assert arm.leaf(1) == 0
    assert arm.m.host.folio(arm.m.host.pte[1]).accessed == before + marks
    assert arm.m.host.folio(arm.m.host.pte[1]).kvm_refs == 0
    arm.end_invalidation(1, 2)
    store.finish()
    assert invalidation.ended
    assert arm.final_violations() == (["late-page-mark"] if semantics == OLD else [])


def test_an_invalidation_of_any_range_makes_a_fault_stale() -> None:
    arm = stage()
    store = arm.access(0, 1, write=True).to(FAULT_GUP)
    arm.run(MM, change_protection_numa(arm.m, 6, 7))
    store.finish()
    assert store.faults == [PF_RETRY, PF_FIXED]


@OLD_AND_NEW
def test_a_slot_on_its_way_out_is_mmio(semantics: Semantics) -> None:
    arm = stage(semantics)
    deletion = arm.thread(IOCTL, kvm_delete_memslot(arm.m, 0))
    while not arm.m.memslots[0].invalid:
        deletion.step()
    assert arm.read(0, 1).faults == [PF_EMULATE]


# --- marks, and the log ----------------------------------------------------------------------------------------------


def test_before_the_series_a_page_is_marked_after_it_was_cleaned() -> None:
    """Writeback takes mmu_lock in between, and cleans a page that nothing maps any more."""
    arm = stage(OLD, backing=("file", "file"))
    store, page = arm.cleaned_at(FAULT_MARK)
    store.to(FAULT_LOG)
    assert page.dirty
    assert arm.violations == ["late-page-mark", "dirty-after-clean"]


def test_since_the_series_marks_come_under_mmu_lock() -> None:
    arm = stage(NEW, backing=("file", "file"), **LOGGING)
    store = arm.access(0, 1, write=True).to(FAULT_LOG)
    page = arm.m.host.pages[arm.m.host.pte[1]]
    assert page.dirty
    assert page.kvm_refs == 0
    assert not arm.dirty(1)
    store.finish()
    assert arm.dirty(1)
    assert not {FAULT_MARK, FAULT_PUT} & set(store.points)
    assert arm.final_violations() == []


def test_a_page_may_be_taken_from_the_host_while_the_fault_still_holds_it() -> None:
    arm = stage(OLD)
    store = arm.access(0, 1, write=True).to(FAULT_PUT)
    page = arm.m.host.pages[arm.m.host.pte[1]]
    arm.run(MM, shrink_folio(arm.m, 1))
    assert not page.freed
    store.finish()
    assert arm.final_violations() == ["late-page-mark"]


@OLD_AND_NEW
def test_a_harvest_before_the_bit_is_set_reports_the_page_the_next_time(semantics: Semantics) -> None:
    arm = stage(semantics, **LOGGING)
    store = arm.access(0, 1, write=True).to(FAULT_LOG)
    arm.run(IOCTL, kvm_get_dirty_log_protect(arm.m, 0))
    store.finish()
    assert arm.dirty(1)
    assert "lost-dirty-page" not in arm.final_violations()
