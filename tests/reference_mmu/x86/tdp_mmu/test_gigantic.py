# SPDX-License-Identifier: GPL-2.0-only
"""Pages of 1G: mapped by one leaf, split twice for logging, as far as there is memory, and put together again."""

from typing import Any

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Backing, SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.operations import MISHAP_NO_MEMORY, RESCHED_LASTS
from reference_mmu.x86.points import (
    COLLAPSE_ZAP,
    ITER_RELOCK_R,
    ITER_RELOCK_W,
    LOG_PROTECT,
    REMOVED_CHILD,
    SPLIT_ALLOC,
    SPLIT_LINK,
    ZAP_LEAF,
)
from reference_mmu.x86.spte import is_writable_pte
from tests.by_hand import IOCTL, MM, Stage
from tests.parameters import BOTH

GIGANTIC: tuple[Backing, ...] = ("hugetlb",) * 4


def stage_of(semantics: Semantics, backing: tuple[Backing, ...] = GIGANTIC, **config: Any) -> Stage:
    """Tables of two entries, so that a page of 1G is of four pages; vCPU 0 has written page 1."""
    slots = (SlotConfig(0, 2 * len(backing), 0),)
    stage = Stage(semantics, bits=1, levels=4, word_gfns=2, gigantic=True, backing=backing, slots=slots, **config)
    stage.write(0, 1)
    return stage


@BOTH
@pytest.mark.parametrize(("backing", "level"), [(GIGANTIC, 3), (("thp",) * 4, 2), (("hugetlb", "thp") * 2, 2)])
def test_one_leaf_is_as_large_as_the_host_pte(backing: tuple[Backing, ...], level: int, semantics: Semantics) -> None:
    stage = stage_of(semantics, backing)
    assert stage.level(1) == level
    assert stage.level(2) == (3 if level == 3 else 0)
    assert stage.final_violations() == []


@BOTH
def test_what_begins_in_the_middle_of_one_is_mapped_smaller(semantics: Semantics) -> None:
    slots = (SlotConfig(2, 6, 2),)
    stage = Stage(semantics, bits=1, levels=4, word_gfns=2, gigantic=True, backing=GIGANTIC, slots=slots)
    stage.write(0, 3)
    stage.write(0, 5)
    assert [stage.level(gfn) for gfn in (3, 5)] == [2, 3]


@BOTH
def test_logging_splits_twice(semantics: Semantics) -> None:
    stage = stage_of(semantics)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert [point for point in enable.points if point in (SPLIT_ALLOC, SPLIT_LINK)] == [SPLIT_ALLOC, SPLIT_LINK] * 3
    assert [stage.level(gfn) for gfn in range(5)] == [1, 1, 1, 1, 0]
    assert stage.final_violations() == []


@BOTH
def test_what_cannot_be_split_for_want_of_memory_is_protected(semantics: Semantics) -> None:
    stage = stage_of(semantics)
    stage.m.mishaps = MISHAP_NO_MEMORY
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert [point for point in enable.points if point in (SPLIT_ALLOC, SPLIT_LINK, LOG_PROTECT)] == [
        SPLIT_ALLOC,
        LOG_PROTECT,
    ]
    assert (stage.level(1), is_writable_pte(stage.leaf(1))) == (3, False)
    assert stage.m.tdp_mmu_roots[0].root_count == 2  # one of the vCPU, one of the MMU's own
    stage.m.mishaps = 0
    stage.write(0, 1)
    assert (stage.level(1), stage.dirty(1), stage.dirty(2)) == (1, True, False)
    assert stage.final_violations() == []


@BOTH
def test_the_tables_of_both_levels_go_at_once(semantics: Semantics) -> None:
    stage = stage_of(semantics)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    collapse = stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    assert collapse.points.count(COLLAPSE_ZAP) == 1
    assert collapse.points.count(REMOVED_CHILD) == 2 + 4
    stage.read(0, 1)
    assert stage.level(1) == 3
    assert stage.final_violations() == []


@BOTH
def test_an_invalidation_of_one_page_is_one_of_all(semantics: Semantics) -> None:
    stage = stage_of(semantics)
    zap = stage.run(MM, change_protection_numa(stage.m, 2, 3))
    assert zap.points.count(ZAP_LEAF) == 1
    assert stage.m.host.span(2) == (0, 4)
    assert stage.level(1) == 0


@BOTH
def test_who_waits_all_the_time_is_let_in_after_each_step_forward(semantics: Semantics) -> None:
    """Once for each region would be four times here. It ends: no walk yields twice at one place."""
    stage = stage_of(semantics, ("anon",) * 4)
    for gfn in range(8):
        stage.write(0, gfn)
    stage.m.resched = RESCHED_LASTS | 0b1111
    zap = stage.run(MM, change_protection_numa(stage.m, 0, 8))
    assert zap.points.count(ITER_RELOCK_W) == 7
    assert [stage.level(gfn) for gfn in range(8)] == [0] * 8
    for gfn in range(8):
        stage.write(0, gfn)
    stage.m.resched = RESCHED_LASTS | 0b1111
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert enable.points.count(ITER_RELOCK_R) > 8
    assert stage.final_violations() == []
