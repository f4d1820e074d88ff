# SPDX-License-Identifier: GPL-2.0-only
"""The walk over a TDP MMU root: what it visits, where it may yield, what a yield makes of it, what the checks cost."""

import pytest

from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.memslots import KvmGfnRange
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import COUNT_CHECKS
from reference_mmu.x86.points import ITER_FLUSH, ITER_RELOCK_W, ZAP_LEAF
from reference_mmu.x86.spte import PG_LEVEL_2M, PG_LEVEL_4K, SHADOW_NONPRESENT_VALUE
from reference_mmu.x86.tdp_mmu.tdp_iter import TdpIter
from tests.by_hand import MM, Stage
from tests.parameters import BOTH


def populated(semantics: Semantics = OLD, gfns: int = 8) -> Stage:
    """gfns 0 … mapped by 4K pages, under a root of three levels."""
    stage = Stage(semantics)
    for gfn in range(gfns):
        stage.write(0, gfn)
    return stage


def visited(stage: Stage, min_level: int, start: int, end: int) -> list[tuple[int, int]]:
    """(gfn, level) of every entry, in order."""
    it = TdpIter(stage.m, stage.root(), min_level, start, end)
    seen = []
    while it.more():
        seen.append((int(it.gfn), int(it.level)))
    return seen


def test_the_walk_is_in_pre_order() -> None:
    assert visited(populated(), PG_LEVEL_4K, 0, 8) == [
        *[(0, 3), (0, 2), (0, 1), (1, 1), (2, 1), (3, 1)],
        *[(4, 2), (4, 1), (5, 1), (6, 1), (7, 1)],
    ]


def test_it_stops_above_the_lowest_level_asked_for() -> None:
    assert visited(populated(), PG_LEVEL_2M, 0, 16) == [(0, 3), (0, 2), (4, 2), (8, 2), (12, 2)]


def test_it_starts_at_the_entries_that_contain_the_first_gfn() -> None:
    """Upper entries are visited with their own first gfn, which may lie before the range."""
    assert visited(populated(), PG_LEVEL_4K, 6, 8) == [(0, 3), (4, 2), (6, 1), (7, 1)]


def test_it_goes_down_where_tables_are_and_sideways_where_they_are_not() -> None:
    stage = populated(gfns=1)
    assert visited(stage, PG_LEVEL_4K, 0, 64) == [
        *[(0, 3), (0, 2), (0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (8, 2), (12, 2)],
        *[(16, 3), (32, 3), (48, 3)],
    ]


def test_an_entry_that_vanished_before_the_step_down_is_stepped_over() -> None:
    stage = populated()
    it = TdpIter(stage.m, stage.root(), PG_LEVEL_4K, 0, 8)
    assert it.more()
    assert it.more()
    assert int(it.level) == 2
    it.sp.spt[it.index] = SHADOW_NONPRESENT_VALUE
    assert it.more()
    assert (int(it.gfn), int(it.level)) == (4, 2)


def test_after_a_yield_it_restarts_at_the_root_for_the_next_gfn() -> None:
    stage = populated()
    it = TdpIter(stage.m, stage.root(), PG_LEVEL_4K, 0, 8)
    while it.more() and it.gfn < 2:
        pass
    it.yielded = True
    after = []
    while it.more():
        after.append((int(it.gfn), int(it.level)))
    assert after == [(0, 3), (0, 2), (2, 1), (3, 1), (4, 2), (4, 1), (5, 1), (6, 1), (7, 1)]


# --- the price of the checks -----------------------------------------------------------------------------------


def walk_checks(spec: str, *, prove: bool = False, resched: int = 0, entries: int = 512) -> int:
    """Checks of a zap of one fully populated 4K table at gfn 0 … entries - 1 under a four-level root."""
    slots = (SlotConfig(base=0, npages=entries, hva=0),)
    stage = Stage(parse_semantics(spec), bits=9, levels=4, backing=("anon",), slots=slots, prove_mmu=prove)
    for gfn in range(entries):
        stage.write(0, gfn)
    stage.m.resched = resched
    stage.m.write_lock()
    zap = stage.run(MM, stage.m.kvm_unmap_gfn_range(KvmGfnRange(stage.m.memslots[0], 0, entries)))
    assert zap.points.count(ZAP_LEAF) == entries
    return zap.count(COUNT_CHECKS)


def test_a_full_table_costs_1026_checks_then_515() -> None:
    """515 entries are visited, four of them on the first descent, where nothing can have progressed yet: 4 + 2 * 511
    predicates when progress is looked at first, one each when need_resched() is."""
    assert walk_checks("no-struct-page+demote-iter-yielded-warn") == 4 + 2 * 511 == 1026
    assert walk_checks("new") == 515


def test_the_demoted_warn_is_one_check_more_per_visit() -> None:
    assert walk_checks("old") == 1026 + 515
    assert walk_checks("no-struct-page+resched-check-before-progress") == 515 + 515
    assert walk_checks("new", prove=True) == 515 + 515
    assert walk_checks("old", prove=True) == 1026 + 515


@pytest.mark.parametrize("entries", [1, 2, 7, 64])
def test_so_does_a_table_of_any_other_fill(entries: int) -> None:
    assert walk_checks("no-struct-page+demote-iter-yielded-warn", entries=entries) == 4 + 2 * (entries - 1)
    assert walk_checks("new", entries=entries) == 3 + entries


def test_without_progress_a_wanted_reschedule_is_refused_by_both() -> None:
    """Every region wants a reschedule, so the first descent asks at once: one check refused it in OLD, two in NEW."""
    counts = []
    for spec in ("no-struct-page+demote-iter-yielded-warn", "new"):
        stage = Stage(parse_semantics(spec))
        stage.write(0, 0)
        stage.m.resched = 1
        stage.m.write_lock()
        zap = stage.run(MM, stage.m.kvm_unmap_gfn_range(KvmGfnRange(stage.m.memslots[0], 0, 1)))
        assert zap.points == [ZAP_LEAF]
        counts.append(zap.count(COUNT_CHECKS))
    assert counts == [3, 6]


# --- yielding --------------------------------------------------------------------------------------------------


@BOTH
def test_it_yields_once_per_region_and_never_without_progress(semantics: Semantics) -> None:
    stage = populated(semantics)
    stage.m.resched = 0b11
    zap = stage.run(MM, change_protection_numa(stage.m, 0, 8))
    assert zap.points.count(ITER_RELOCK_W) == 2
    assert zap.points.count(ZAP_LEAF) == 8
    # Region 0 is left after its first sideways step, region 1 at its first entry: it was reached by one.
    assert [p for p in zap.points if p in (ITER_FLUSH, ITER_RELOCK_W, ZAP_LEAF)] == [
        *[ZAP_LEAF, ITER_FLUSH, ITER_RELOCK_W],
        *[ZAP_LEAF] * 3,
        *[ITER_FLUSH, ITER_RELOCK_W],
        *[ZAP_LEAF] * 4,
    ]
    assert stage.violations == []


@BOTH
def test_nothing_is_held_while_it_yields(semantics: Semantics) -> None:
    stage = populated(semantics)
    stage.m.resched = 0b10
    zap = stage.thread(MM, change_protection_numa(stage.m, 0, 8)).to(ITER_RELOCK_W)
    assert stage.m.mmu_lock.state == 0
    assert int(stage.m.rcu.inside[MM]) == 0
    assert stage.m.mmu_invalidate_in_progress == 1
    # A fault in the range sees that it is stale; one that was zapped already stays away.
    reader = stage.access(1, 0)
    for _ in range(12):
        reader.step()
    assert stage.leaf(0) == 0
    zap.finish()
    reader.finish()
    assert stage.leaf(0) != 0
    assert stage.violations == []
