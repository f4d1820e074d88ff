# SPDX-License-Identifier: GPL-2.0-only
"""Faults of an indirect MMU: shadow pages, their write protection, and guest entries that change meanwhile."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.observed import PF_FIXED, PF_RETRY, PF_WRITE_PROTECTED
from reference_mmu.x86.points import FAULT_LOCK_W, FAULT_SEQ, SHADOW_SET, TRACK_FLUSH
from reference_mmu.x86.shadow_mmu.rmap import kvm_mmu_page_get_access, kvm_mmu_page_get_gfn
from reference_mmu.x86.shadow_mmu.unsync import valid_sps_with_gptes
from reference_mmu.x86.spte import ACC_ALL, ACC_WRITE_MASK, is_access_track_spte
from tests.by_hand import MM
from tests.guest_tables import (
    DATA,
    LEAF,
    LEAF_PAGE,
    OTHER,
    ROOT,
    ROOT_PAGE,
    TABLES,
    TABLES_PAGE,
    THIRD,
    GuestStage,
    gpte,
)
from tests.parameters import BOTH, EVERY_PAGING


@BOTH
@EVERY_PAGING
def test_a_fault_shadows_the_tables_on_its_way(paging: str, semantics: Semantics) -> None:
    stage = GuestStage(semantics, paging=paging)
    assert stage.write(0, DATA).faults == [PF_FIXED]
    sp = stage.shadow_page(LEAF)
    assert (sp.level, sp.access, sp.direct, sp.unsync) == (1, ACC_ALL, False, False)
    assert kvm_mmu_page_get_gfn(stage.m, sp, DATA) == 4
    assert kvm_mmu_page_get_access(sp, DATA) == ACC_ALL
    assert stage.shadow_page(ROOT) is stage.root()
    assert list(valid_sps_with_gptes(stage.m, TABLES)) == []
    assert stage.m.indirect_shadow_pages == 2
    assert stage.m.kvm_gfn_is_write_tracked(ROOT)
    assert not stage.m.kvm_gfn_is_write_tracked(LEAF)
    assert stage.violations == []


@BOTH
def test_a_new_shadow_page_takes_the_table_from_those_who_could_write_it(semantics: Semantics) -> None:
    stage = GuestStage(semantics)
    stage.write(1, LEAF_PAGE)
    assert stage.rights(LEAF_PAGE, 1) == "RWM"
    fault = stage.access(0, DATA).to(TRACK_FLUSH)
    assert stage.rights(LEAF_PAGE, 1) == "R"
    assert stage.cached(1, LEAF_PAGE) != 0
    fault.finish()
    assert fault.flushes == 1
    assert stage.cached(1, LEAF_PAGE) == 0
    assert stage.violations == []


def test_no_flush_where_nobody_could_write_it() -> None:
    stage = GuestStage()
    stage.read(1, OTHER)
    assert stage.read(0, DATA).flushes == 0


@BOTH
def test_a_store_between_walk_and_lock_is_noticed(semantics: Semantics) -> None:
    """The table is not shadowed yet, so the store goes unseen; the fault must not map what the walk saw."""
    stage = GuestStage(semantics)
    stage.write(1, LEAF_PAGE)
    fault = stage.access(0, DATA).to(FAULT_LOCK_W)
    stage.store_gpte(1, LEAF_PAGE, DATA, gpte(7))
    fault.finish()
    assert fault.faults == [PF_RETRY, PF_FIXED]
    assert kvm_mmu_page_get_gfn(stage.m, stage.shadow_page(LEAF), DATA) == 7
    assert stage.violations == []


def test_the_window_of_the_write_protection_is_read_again() -> None:
    """A vCPU with a writable entry stores until the flush has ended."""
    stage = GuestStage()
    stage.write(1, LEAF_PAGE)
    fault = stage.access(0, DATA).to(TRACK_FLUSH)
    assert stage.store_gpte(1, LEAF_PAGE, DATA, gpte(7)).faults == []
    fault.finish()
    assert fault.faults == [PF_RETRY, PF_FIXED]
    assert stage.violations == []


def test_an_invalidation_makes_the_fault_stale() -> None:
    stage = GuestStage()
    fault = stage.access(0, DATA).to(FAULT_LOCK_W)
    stage.run(MM, migrate_page(stage.m, 4))
    assert fault.finish().faults == [PF_RETRY, PF_FIXED]
    assert stage.violations == []


def test_a_tracked_table_is_written_by_the_emulator() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    store = stage.store_gpte(0, ROOT_PAGE, 3, gpte(LEAF))
    assert store.faults == [PF_WRITE_PROTECTED]
    assert stage.rights(ROOT_PAGE) == "R"
    assert stage.word(ROOT, 3) == gpte(LEAF)
    assert stage.violations == []


def test_one_table_has_a_shadow_page_for_each_access() -> None:
    stage = GuestStage()
    stage.set_word(ROOT, 2, gpte(LEAF, writable=False))
    stage.read(0, DATA)
    stage.read(0, 8 + DATA)
    accesses = [sp.access for sp in valid_sps_with_gptes(stage.m, LEAF)]
    assert accesses == [ACC_ALL, ACC_ALL & ~ACC_WRITE_MASK]
    assert (stage.rights(DATA), stage.rights(8 + DATA)) == ("RWM", "R")


def test_one_shadow_page_serves_two_roots() -> None:
    stage = GuestStage()
    stage.set_word(TABLES, 3, gpte(LEAF))
    stage.read(0, DATA)
    stage.load_cr3(1, TABLES)
    stage.read(1, 12 + DATA)
    assert len(stage.shadow_page(LEAF).parent_ptes.sptes()) == 2
    assert stage.violations == []


# --- prefetch --------------------------------------------------------------------------------------------------


@BOTH
def test_neighbours_the_guest_has_used_come_along(semantics: Semantics) -> None:
    stage = GuestStage(semantics)
    stage.read(0, DATA)
    assert [stage.rights(page) for page in range(4)] == ["RWM", "RWM", "RWM", ""]


def test_the_first_unused_neighbour_ends_it() -> None:
    stage = GuestStage()
    stage.set_word(LEAF, OTHER, gpte(5, accessed=False))
    stage.read(0, DATA)
    assert [stage.rights(page) for page in range(4)] == ["RWM", "", "", ""]


@BOTH
def test_without_accessed_bits_they_are_born_access_tracked(semantics: Semantics) -> None:
    stage = GuestStage(semantics, paging="ept-noad")
    stage.read(0, DATA)
    assert not is_access_track_spte(stage.m.masks, stage.leaf(DATA))
    assert is_access_track_spte(stage.m.masks, stage.leaf(OTHER))


def test_a_shadowed_table_is_prefetched_without_write_access() -> None:
    """Nobody asked to write it, so it does not become unsync."""
    stage = GuestStage()
    stage.read(0, DATA)
    stage.read(0, ROOT_PAGE)
    assert (stage.rights(LEAF_PAGE), stage.rights(TABLES_PAGE)) == ("R", "R")
    assert not stage.shadow_page(LEAF).unsync


def test_none_while_an_invalidation_is_in_progress() -> None:
    stage = GuestStage()
    fault = stage.access(0, THIRD).to(FAULT_SEQ)
    stage.m.mmu_invalidate_in_progress = 1
    stage.m.mmu_invalidate_range_start = stage.m.mmu_invalidate_range_end = 0
    fault.to(SHADOW_SET).finish()
    assert [stage.rights(page) for page in range(4)] == ["", "", "RWM", ""]
