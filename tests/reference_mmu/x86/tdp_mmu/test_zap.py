# SPDX-License-Identifier: GPL-2.0-only
"""Zapping: leaves of a range, whole roots, and the page tables that a huge page could replace."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import COUNT_CHANGES, PF_FIXED, PF_FROZEN
from reference_mmu.points import FAULT_RETRY
from reference_mmu.x86.points import (
    BACK_ZAP,
    COLLAPSE_FLUSH,
    COLLAPSE_FROZEN,
    COLLAPSE_RELOCK,
    COLLAPSE_YIELD_FLUSH,
    COLLAPSE_ZAP,
    ITER_FLUSH,
    RANGE_FLUSH,
    ZAP_LEAF,
)
from reference_mmu.x86.spte import is_frozen_spte, is_shadow_present_pte
from reference_mmu.x86.tdp_mmu.zap import tdp_mmu_zap_leafs
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from reference_mmu.x86.zap_range import kvm_zap_gfn_range
from tests.by_hand import DEVICE, IOCTL, MM, Stage, is_freed
from tests.parameters import BOTH

# --- leaves ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_range_loses_its_leaves_and_keeps_its_tables(semantics: Semantics) -> None:
    stage = Stage(semantics)
    for gfn in (1, 2, 5):
        stage.write(0, gfn)
    table, _ = stage.entry(1)
    zap = stage.run(MM, change_protection_numa(stage.m, 1, 6))
    assert [stage.level(gfn) for gfn in range(8)] == [0] * 8
    assert zap.count(COUNT_CHANGES) == 3
    assert zap.flushes == 1
    assert not table.unlinked


@BOTH
def test_a_huge_leaf_goes_as_a_whole(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.write(0, 1)
    stage.run(IOCTL, kvm_zap_gfn_range(stage.m, 2, 3))
    assert stage.level(1) == 0


@BOTH
def test_the_pending_flush_survives_the_second_root_and_a_yield_clears_it(semantics: Semantics) -> None:
    """One flush for all roots of a slot; one more where the walk yields in between."""
    flushes = []
    for resched in (0, 0b10):
        stage = Stage(semantics, nested=True)
        stage.write(0, 1)
        stage.write(0, 5)
        stage.m.x86_vcpus[1].guest_mode = True
        stage.write(1, 1)
        stage.write(1, 5)
        assert len(stage.m.tdp_mmu_roots) == 2
        stage.m.resched = resched
        zap = stage.run(MM, change_protection_numa(stage.m, 0, 8))
        assert zap.points.count(ZAP_LEAF) == 4
        flushes.append((zap.flushes, zap.points.count(ITER_FLUSH)))
        assert stage.violations == []
    assert flushes == [(1, 0), (2, 1)]


@BOTH
def test_leaves_of_an_invalid_root_are_zapped_without_a_flush(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    stage.root().invalid = True
    stage.m.write_lock()
    zap = stage.run(MM, tdp_mmu_zap_leafs(stage.m, stage.root(), 0, 8, True, False))
    assert zap.points == [ZAP_LEAF]
    assert zap.result is False


@BOTH
def test_a_zapped_gfn_range_makes_faults_in_flight_stale(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    seq = int(stage.m.mmu_invalidate_seq)
    zap = stage.thread(DEVICE, kvm_zap_gfn_range(stage.m, 0, 4)).to(RANGE_FLUSH)
    assert stage.m.mmu_invalidate_in_progress == 1
    zap.finish()
    assert stage.m.mmu_invalidate_in_progress == 0
    assert stage.m.mmu_invalidate_seq == seq + 1
    assert zap.flushes == 1


# --- roots -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_root_is_taken_apart_from_the_bottom_with_prove_mmu_from_the_top(semantics: Semantics) -> None:
    """4 levels, so that there is a 1G level below the root: leaf, its table, the 2M table, the 1G table; or the 1G
    entry with all below it, then the root's own."""
    zaps = []
    for prove_mmu in (False, True):
        stage = Stage(semantics, levels=4, prove_mmu=prove_mmu)
        stage.write(0, 1)
        deletion = stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
        zaps.append(deletion.points.count(BACK_ZAP))
        assert deletion.flushes == 0
        assert [sp.freed for sp in stage.m.page_tables] == [False, True, True, True]
    assert zaps == [4, 2]


@BOTH
def test_a_root_lives_until_the_last_vcpu_has_left_it(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    root = stage.root()
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert root.invalid
    assert not is_freed(root)
    stage.read(0, 1)
    assert is_freed(root)
    assert stage.root() is not root
    assert stage.violations == []


# --- what a huge page could replace ----------------------------------------------------------------------------


def three_regions(semantics: Semantics, last: str = "anon") -> Stage:
    """R0 and R1 have 4K tables that a huge page could replace, R2 has nothing to collapse."""
    stage = Stage(semantics, backing=("thp", "thp", last), slots=(SlotConfig(0, 12, 0, logging=True),))
    stage.write(0, 1)
    stage.write(0, 5)
    stage.write(1, 3)
    assert [stage.level(gfn) for gfn in (1, 5)] == [1, 1]
    return stage


def test_two_tables_cost_two_flushes_then_one() -> None:
    flushes = [stage.run(IOCTL, disable_dirty_log(stage.m, 0)).flushes for stage in map(three_regions, (OLD, NEW))]
    assert flushes == [2, 1]


@pytest.mark.parametrize(
    ("semantics", "resched", "flushes", "points"),
    [
        (NEW, 0b100, 1, [COLLAPSE_ZAP, COLLAPSE_ZAP, COLLAPSE_YIELD_FLUSH, COLLAPSE_RELOCK]),
        (OLD, 0b100, 2, [*[COLLAPSE_ZAP, COLLAPSE_FROZEN] * 2, COLLAPSE_RELOCK]),
        (NEW, 0b10, 2, [COLLAPSE_ZAP, COLLAPSE_YIELD_FLUSH, COLLAPSE_RELOCK, COLLAPSE_ZAP, COLLAPSE_FLUSH]),
    ],
    ids=["new: at the yield, then no more", "old: none is pending at the yield", "new: again for what it zaps later"],
)
def test_flushes_at_a_yield(semantics: Semantics, resched: int, flushes: int, points: list[int]) -> None:
    stage = three_regions(semantics)
    stage.m.resched = resched
    collapse = stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    assert [p for p in collapse.points if p >= COLLAPSE_YIELD_FLUSH] == points
    assert collapse.flushes == flushes
    assert stage.violations == []


def test_old_stores_frozen_and_then_nonpresent_new_only_the_latter() -> None:
    """Entries of the dead table, which both freeze, are nobody's business and are not counted."""
    changes = [
        stage.run(IOCTL, disable_dirty_log(stage.m, 0)).count(COUNT_CHANGES) for stage in map(three_regions, (OLD, NEW))
    ]
    assert changes == [4, 2]


@pytest.mark.reaches("frozen")
def test_a_fault_meets_a_frozen_entry_in_old_and_maps_the_huge_page_in_new() -> None:
    stage = three_regions(OLD)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_FROZEN)
    sp, index = stage.entry(2, level=2)
    assert is_frozen_spte(sp.spt[index])
    reader = stage.access(0, 2).to(FAULT_RETRY)
    assert reader.faults == [PF_FROZEN]
    collapse.finish()
    reader.finish()
    assert reader.faults == [PF_FROZEN, PF_FIXED]
    assert stage.level(2) == 2

    stage = three_regions(NEW)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_FLUSH)
    sp, index = stage.entry(2, level=2)
    assert not is_shadow_present_pte(sp.spt[index])
    assert not is_frozen_spte(sp.spt[index])
    reader = stage.read(0, 2)
    assert reader.faults == [PF_FIXED]
    assert stage.level(2) == 2
    # vCPU 1 still has the 4K entry; both translations lead to the same page.
    stage.write(1, 3)
    collapse.finish()
    assert stage.final_violations() == []


@BOTH
def test_only_what_a_huge_page_could_replace_is_dropped(semantics: Semantics) -> None:
    """Not a table whose host pages are small, nor one with a write-tracked gfn."""
    stage = three_regions(semantics, last="anon")
    stage.write(0, 9)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 6))
    collapse = stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    assert [stage.level(gfn) for gfn in (1, 5, 9)] == [0, 1, 1]
    assert collapse.flushes == 1


@BOTH
def test_a_table_at_the_unaligned_edge_of_a_slot_stays(semantics: Semantics) -> None:
    """The slot begins and ends inside a huge page: neither half may become one."""
    stage = Stage(semantics, backing=("thp", "thp", "thp"), slots=(SlotConfig(2, 8, 2, logging=True),))
    for gfn in (2, 5, 9):
        stage.write(0, gfn)
    collapse = stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    assert [stage.level(gfn) for gfn in (2, 5, 9)] == [1, 0, 1]
    assert collapse.flushes == 1


@BOTH
def test_a_lost_race_is_tried_again_at_the_same_entry(semantics: Semantics) -> None:
    """A fault at the goal level replaces the table by a huge leaf first: nothing is left to zap."""
    stage = three_regions(semantics)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_ZAP)
    stage.read(0, 2)
    assert stage.level(2) == 2
    collapse.finish()
    assert stage.level(2) == 2
    assert stage.level(5) == 0
    assert collapse.points.count(COLLAPSE_ZAP) == 2
    assert collapse.flushes == 1
    assert stage.violations == []


def test_the_measured_figure_of_the_series_in_small() -> None:
    """One flush per table, then one per yield with something pending and one at the end (131072 and 76 on hardware)."""
    blocks = 15
    counts = []
    for semantics in (OLD, NEW):
        slots = (SlotConfig(0, 4 * blocks, 0, logging=True),)
        stage = Stage(semantics, backing=("thp",) * blocks, slots=slots)
        for block in range(blocks):
            stage.write(0, 4 * block)
        stage.m.resched = 1 << 4 | 1 << 8
        counts.append(stage.run(IOCTL, disable_dirty_log(stage.m, 0)).flushes)
    assert counts == [blocks, 3]
