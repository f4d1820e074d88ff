# SPDX-License-Identifier: GPL-2.0-only
"""Unsync pages and the guest's flush: what INVLPG and a load of CR3 bring up to date, and what that flushes."""

from typing import Any

import pytest

from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics, parse_semantics
from reference_mmu.config import GuestPte
from reference_mmu.mm.host import HOST_PROTNONE
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_FIXED, PF_INJECTED, PF_RETRY
from reference_mmu.operations import MISHAP_LOCK_WANTED
from reference_mmu.points import FAULT_RETRY
from reference_mmu.x86.points import ITER_RELOCK_W, SYNC_FLUSH, SYNC_LOCK, SYNC_SPTE
from reference_mmu.x86.shadow_mmu.rmap import kvm_mmu_page_get_access
from reference_mmu.x86.shadow_mmu.unsync import valid_sps_with_gptes
from reference_mmu.x86.spte import ACC_ALL, ACC_EXEC_MASK, ACC_WRITE_MASK, PT_WRITABLE_MASK, spte_to_pfn
from reference_mmu.x86.vcpu import load_cr3
from tests.by_hand import MM
from tests.guest_tables import DATA, LEAF, LEAF_PAGE, OTHER, ROOT, GuestStage, gpte
from tests.parameters import BOTH, EVERY_PAGING


def unsynced(semantics: Semantics, entry: int, value: int, **config: Any) -> GuestStage:
    """The guest has used page 0, and written an entry of the table without flushing."""
    stage = GuestStage(semantics, **config)
    stage.write(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, entry, value)
    assert stage.shadow_page(LEAF).unsync
    return stage


# --- a #PF of the guest ----------------------------------------------------------------------------------------


@BOTH
def test_a_page_fault_of_the_guest_brings_the_spte_up_to_date(semantics: Semantics) -> None:
    """The table forbids the store, and points elsewhere: the SPTE that is injected for goes, its neighbour stays."""
    stage = unsynced(semantics, DATA, gpte(7, writable=False))
    stage.read(0, OTHER)
    stage.set_word(LEAF, OTHER, gpte(6))
    stage.m.flush_all()
    sp, index = stage.entry(DATA)
    sp.spt[index] &= ~PT_WRITABLE_MASK  # as aging or logging would have it
    fault = stage.write(0, DATA)
    assert fault.faults == [PF_INJECTED]
    assert SYNC_LOCK in fault.points
    assert stage.rights(DATA) == ""
    assert stage.rights(OTHER) != ""
    assert stage.shadow_page(LEAF).unsync


def test_a_page_that_is_not_present_is_left_alone() -> None:
    """Nothing can be cached of it: the error code has no PFERR_PRESENT_MASK."""
    stage = unsynced(OLD, DATA, 0)
    stage.invlpg(0, DATA)
    fault = stage.write(0, DATA)
    assert fault.faults == [PF_INJECTED]
    assert SYNC_LOCK not in fault.points


# --- INVLPG ----------------------------------------------------------------------------------------------------


@BOTH
def test_invlpg_drops_the_spte_of_another_gfn(semantics: Semantics) -> None:
    stage = unsynced(semantics, DATA, gpte(7))
    assert spte_to_pfn(stage.leaf(DATA)) == 4
    assert stage.invlpg(0, DATA).flushes == 1
    assert stage.rights(DATA) == ""
    stage.read(0, DATA)
    assert spte_to_pfn(stage.leaf(DATA)) == 7
    # One entry at a time: the table stays the guest's.
    assert stage.shadow_page(LEAF).unsync
    assert stage.violations == []


@BOTH
@pytest.mark.parametrize("value", [0, gpte(4, accessed=False)], ids=["not present", "not accessed"])
def test_invlpg_drops_what_the_guest_does_not_use(value: int, semantics: Semantics) -> None:
    stage = unsynced(semantics, DATA, value)
    stage.invlpg(0, DATA)
    assert stage.rights(DATA) == ""
    assert stage.violations == []


@BOTH
@pytest.mark.parametrize("value", [gpte(4, writable=False), gpte(4, dirty=False)], ids=["read-only", "clean"])
def test_invlpg_takes_write_access_and_flushes(value: int, semantics: Semantics) -> None:
    """MMU_WRITABLE goes: the flush belongs to every semantics."""
    stage = unsynced(semantics, DATA, value)
    assert stage.cached(0, DATA) != 0
    assert stage.invlpg(0, DATA).flushes == 1
    assert stage.rights(DATA) == "R"
    assert stage.violations == []


@BOTH
def test_invlpg_may_give_write_access(semantics: Semantics) -> None:
    """The page was writable when the SPTE was made, so its host page has been marked; no exit is needed to tell."""
    stage = GuestStage(semantics)
    stage.set_word(LEAF, DATA, gpte(4, writable=False))
    stage.read(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(4))
    assert stage.rights(DATA) == "R"
    assert stage.invlpg(0, DATA).flushes == 0
    assert stage.rights(DATA) == "RWM"
    assert stage.write(0, DATA).faults == []


def test_invlpg_gives_no_write_access_to_a_shadowed_table() -> None:
    """Synchronizing may not make pages unsync, not even one that is."""
    stage = GuestStage()
    stage.set_word(LEAF, 3, gpte(LEAF, writable=False))
    stage.read(0, DATA)
    stage.read(0, 3)
    stage.store_gpte(0, LEAF_PAGE, 3, gpte(LEAF))
    stage.invlpg(0, 3)
    assert stage.rights(3) == "R"


@BOTH
def test_nothing_is_done_where_the_rights_did_not_change(semantics: Semantics) -> None:
    stage = unsynced(semantics, OTHER, gpte(5))
    before = stage.leaf(OTHER)
    synced = stage.invlpg(0, OTHER)
    assert SYNC_SPTE not in synced.points
    assert stage.leaf(OTHER) == before


@pytest.mark.parametrize(
    ("semantics", "flushes"),
    [
        ("no-struct-page", 1),
        ("no-struct-page+always-dirty-if-writable", 0),
        ("no-struct-page+shadow-no-flush-on-clear-dirty", 0),
        ("new", 0),
    ],
)
def test_rights_that_leave_w_alone_cost_old_the_dirty_bit_and_a_flush(semantics: str, flushes: int) -> None:
    """make_spte() of OLD jumps over D where the old SPTE was writable; mmu_spte_update() then sees D go."""
    stage = unsynced(parse_semantics(semantics), DATA, gpte(4, executable=False))
    assert stage.invlpg(0, DATA).flushes == flushes
    assert stage.rights(DATA) == "RWM"
    assert kvm_mmu_page_get_access(stage.shadow_page(LEAF), DATA) == ACC_ALL & ~ACC_EXEC_MASK
    assert stage.violations == []


@pytest.mark.parametrize("patch", ["flush-iff-mmuw-cleared", "no-flush-on-clear-accessed"])
@pytest.mark.parametrize("paging", ["ept-ad", "ept-noad", "npt"])
@pytest.mark.parametrize("writable", [False, True])
def test_two_patches_are_not_seen_by_sync_spte(patch: str, paging: str, writable: bool) -> None:
    """W and MMU_WRITABLE come and go together here, and the result is Accessed."""
    flushes = []
    for semantics in ("old", f"no-struct-page+{patch}"):
        stage = unsynced(parse_semantics(semantics), DATA, gpte(4, writable=writable, executable=False), paging=paging)
        flushes.append(stage.load_cr3(0).flushes)
    assert flushes[0] == flushes[1]


def test_a_table_out_of_reach_costs_the_spte() -> None:
    stage = unsynced(OLD, DATA, gpte(4))
    stage.m.host.flags[LEAF] |= HOST_PROTNONE
    assert stage.invlpg(0, DATA).flushes == 1
    assert stage.rights(DATA) == ""


def test_invlpg_stops_where_nothing_below_is_unsync() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.set_word(LEAF, DATA, gpte(7))
    assert stage.invlpg(0, DATA).flushes == 0
    assert stage.rights(DATA) == "RWM"


# --- CR3 -------------------------------------------------------------------------------------------------------


@BOTH
@EVERY_PAGING
def test_a_load_of_cr3_protects_then_synchronizes(paging: str, semantics: Semantics) -> None:
    stage = unsynced(semantics, DATA, gpte(7), paging=paging)
    stage.load_cr3(1)
    sp = stage.shadow_page(LEAF)
    assert not sp.unsync
    assert stage.root(1).unsync_children == 0
    assert (stage.rights(DATA), stage.rights(LEAF_PAGE)) == ("", "R")
    assert stage.cached(0, LEAF_PAGE) == 0
    assert stage.violations == []


def test_a_store_before_the_protection_ends_is_synchronized() -> None:
    stage = unsynced(OLD, DATA, gpte(7))
    load = stage.thread(1, load_cr3(stage.m, stage.m.x86_vcpus[1], ROOT)).to(SYNC_FLUSH)
    assert stage.store_gpte(0, LEAF_PAGE, OTHER, gpte(6)).faults == []
    load.finish()
    assert (stage.rights(DATA), stage.rights(OTHER)) == ("", "")
    assert stage.violations == []


@BOTH
def test_whoever_waits_for_mmu_lock_gets_it_when_nothing_is_owed(semantics: Semantics) -> None:
    """The SPTE of the old entry is gone from every TLB by then; what becomes unsync meanwhile is synchronized, too."""
    stage = GuestStage(semantics)
    stage.read(1, DATA)
    stage.write(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(7))
    stage.m.mishaps = MISHAP_LOCK_WANTED
    load = stage.thread(0, load_cr3(stage.m, stage.m.x86_vcpus[0], ROOT)).to(ITER_RELOCK_W)
    assert stage.rights(DATA) == ""
    assert stage.cached(1, DATA) == 0
    assert load.flushes == 2
    stage.store_gpte(1, LEAF_PAGE, OTHER, gpte(6))
    load.finish()
    assert not stage.shadow_page(LEAF).unsync
    assert stage.violations == []


THREE_LEVELS = tuple(
    GuestPte(table, index, gfn, accessed=True, dirty=True)
    for table, index, gfn in (
        (0, 0, 1),
        (0, 1, 1),
        (1, 0, 2),
        (1, 1, 3),
        *((2, n, 4 + n) for n in range(3)),
        *((3, n, n) for n in range(3)),
    )
)
"""gfn 1 is a table of the second level, used for pages 0 to 15 and again for 16 to 31."""


@BOTH
def test_a_fault_that_may_not_let_go_of_mmu_lock_is_repeated(semantics: Semantics) -> None:
    stage = GuestStage(semantics, levels=3, ptes=THREE_LEVELS)
    stage.write(0, DATA)
    stage.store_gpte(0, 6, DATA, gpte(7))
    stage.m.mishaps = MISHAP_LOCK_WANTED
    fault = stage.access(0, 16 + OTHER).to(FAULT_RETRY)
    vcpu = stage.m.x86_vcpus[0]
    assert (vcpu.mmu_sync, ITER_RELOCK_W in fault.points) == (True, False)
    fault.finish()
    assert (vcpu.mmu_sync, fault.faults) == (False, [PF_RETRY, PF_FIXED])
    assert stage.violations == []


def test_what_is_left_is_synchronized_before_the_guest_is_entered() -> None:
    stage = unsynced(OLD, DATA, gpte(7))
    vcpu = stage.m.x86_vcpus[0]
    vcpu.mmu_sync = vcpu.outside_guest_mode = True
    stage.read(0, OTHER)
    assert (vcpu.mmu_sync, stage.shadow_page(LEAF).unsync, stage.rights(DATA)) == (False, False, "")
    assert stage.violations == []


def test_no_lock_is_taken_where_nothing_is_unsync() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    assert SYNC_LOCK not in stage.load_cr3(0).points


def test_the_own_tlb_is_flushed_in_any_case() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    assert stage.cached(0, DATA) != 0
    stage.load_cr3(0)
    assert stage.cached(0, DATA) == 0


def test_an_unreadable_table_costs_the_page() -> None:
    stage = unsynced(OLD, DATA, gpte(7))
    stage.run(MM, change_protection_numa(stage.m, LEAF, LEAF + 1))
    stage.load_cr3(0)
    assert list(valid_sps_with_gptes(stage.m, LEAF)) == []
    assert stage.m.indirect_shadow_pages == 2
    assert stage.violations == []


@BOTH
def test_a_found_page_is_synchronized_but_stays_unsync(semantics: Semantics) -> None:
    """Another root finds the page; write protection waits for the guest's flush."""
    stage = unsynced(semantics, OTHER, gpte(7))
    stage.set_word(ROOT, 2, gpte(LEAF))
    assert stage.read(0, 8 + DATA).flushes > 0
    assert spte_to_pfn(stage.leaf(OTHER)) != 5
    sp = stage.shadow_page(LEAF)
    assert sp.unsync
    assert list(stage.root().unsync_child_bitmap) == [1, 0, 1, 0]
    assert stage.violations == []


def test_write_access_is_what_the_guest_says_from_the_root_down() -> None:
    stage = GuestStage()
    stage.set_word(ROOT, 0, gpte(LEAF, writable=False))
    stage.read(0, DATA)
    assert stage.shadow_page(LEAF).access == ACC_ALL & ~ACC_WRITE_MASK
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(4, executable=False))
    stage.load_cr3(0)
    assert stage.rights(DATA) == "R"
    assert stage.violations == []
