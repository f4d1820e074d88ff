# SPDX-License-Identifier: GPL-2.0-only
"""rmaps and parent_ptes of the shadow MMU, held against the SPTEs."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_invalidate_range_start
from reference_mmu.x86.page_table import KvmMmuPage, KvmRmapHead
from reference_mmu.x86.points import SHADOW_SET
from reference_mmu.x86.shadow_mmu.pte_list import RmapIterator, pte_list_add, pte_list_remove
from reference_mmu.x86.shadow_mmu.rmap import drop_spte, rmap_add
from reference_mmu.x86.shadow_mmu.shadow_page import drop_parent_pte
from tests.by_hand import IOCTL, MM, Stage
from tests.parameters import BOTH


def shadow() -> Stage:
    stage = Stage(mmu="shadow")
    stage.write(0, 1)
    stage.m.actor = IOCTL
    stage.m.write_lock()
    return stage


def violations_after_unlock(stage: Stage) -> list[str]:
    """What is found when mmu_lock is released with all TLBs flushed."""
    stage.m.flush_all()
    stage.m.write_unlock()
    return stage.violations


def without_parent() -> tuple[Stage, KvmMmuPage, int]:
    """Nobody points to the table of gfn 1 any more, and the leaf is still in it."""
    stage = shadow()
    sp, index = stage.entry(1)
    parent, at = sp.parent_ptes.sptes()[0]
    drop_parent_pte(stage.m, sp, parent, at)
    assert violations_after_unlock(stage) == []
    return stage, sp, index


# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
def test_accepts_faults_splits_and_a_slot_that_goes(semantics: Semantics) -> None:
    stage = Stage(semantics, mmu="shadow", backing=("thp", "anon"))
    stage.write(0, 1)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    stage.write(1, 2)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("rmap-differs")
@pytest.mark.parametrize("times", [0, 2])
def test_rejects_a_leaf_that_its_rmap_has_not_exactly_once(times: int) -> None:
    stage = shadow()
    sp, index = stage.entry(1)
    leaf = stage.leaf(1)
    drop_spte(stage.m, sp, index)
    stage.store(1, leaf)
    for _ in range(times):
        rmap_add(stage.m, sp, index)
    assert violations_after_unlock(stage) == ["rmap-differs"]


def test_rejects_a_table_without_its_parent() -> None:
    stage = shadow()
    child, _ = stage.entry(1)
    parent, at = child.parent_ptes.sptes()[0]
    entry = parent.spt[at]
    drop_parent_pte(stage.m, child, parent, at)
    stage.store(1, entry, level=2)
    assert "rmap-differs" in violations_after_unlock(stage)


def test_rejects_a_parent_that_leads_elsewhere() -> None:
    stage = shadow()
    child, _ = stage.entry(1)
    parent, at = child.parent_ptes.sptes()[0]
    drop_parent_pte(stage.m, child, parent, at)
    pte_list_add(child.parent_ptes, parent, at)
    assert violations_after_unlock(stage) == ["rmap-differs"]


def test_rejects_a_leaf_left_in_a_table_that_nobody_points_to() -> None:
    """It would be mapped again with the table."""
    stage, sp, index = without_parent()
    rmap = stage.m.rmap.pop(stage.m.tlb_key(1, 1))
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 4, 5))
    stage.m.rmap[int(stage.m.tlb_key(1, 1))] = rmap
    assert stage.violations == []
    stage.m.oracle.invalidate_started(stage.m, 1, 2)
    assert stage.violations == ["mapped-during-invalidation"]
    assert sp.spt[index] != 0


def walk_that_removes(stage: Stage, n: int, at: int) -> list[int]:
    """A chain of n SPTEs, and a walk of it that removes the one where it stands when it has come to the one after `at`
    others, and goes on. What it visits."""
    sp, index = stage.entry(1)
    chain, visited = KvmRmapHead(), []
    for number in range(n):
        sp.spt[number] = sp.spt[index]
        pte_list_add(chain, sp, number)
    it = RmapIterator(stage.m, chain)
    while it.more():
        visited.append(int(it.index))
        if len(visited) == at + 1:
            pte_list_remove(stage.m, chain, it.sp, it.index)
    return visited


@pytest.mark.reaches("rmap-passed-over")
def test_rejects_a_walk_that_goes_on_where_another_spte_has_come() -> None:
    stage = shadow()
    assert walk_that_removes(stage, 2, 0) == [0]
    assert stage.violations == ["rmap-passed-over"]


def test_rejects_a_walk_that_goes_on_in_a_descriptor_that_was_freed() -> None:
    stage = shadow()
    assert walk_that_removes(stage, 3, 0) == [2, 0, 1]
    assert stage.violations == ["bug"]


@pytest.mark.reaches("rmap-leak")
def test_rejects_a_chain_that_outlives_its_memslot() -> None:
    """Not even a table that nobody can reach keeps an SPTE of it."""
    stage, _, _ = without_parent()
    stage.m.oracle.slot_zapped(stage.m, stage.m.memslots[0])
    assert stage.violations == ["rmap-leak"]


def test_rejects_a_table_that_is_freed_while_an_entry_points_to_it() -> None:
    stage = shadow()
    child = stage.m.alloc_table(1, 0, None)
    pte_list_add(child.parent_ptes, *stage.entry(1))
    stage.m.free_table(child)
    assert "rmap-leak" in stage.violations


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_leaf_that_has_no_rmap_yet() -> None:
    """Between the store and rmap_add() there is room for others, but mmu_lock is held."""
    stage = Stage(mmu="shadow")
    fault = stage.access(0, 1, write=True).to(SHADOW_SET)
    fault.finish()
    assert stage.violations == []


def test_legal_a_leaf_of_a_table_that_nobody_points_to() -> None:
    stage, sp, index = without_parent()
    assert (sp, index) in stage.m.rmap[int(stage.m.tlb_key(1, 1))].sptes()


@pytest.mark.parametrize(("n", "at"), [(1, 0), (2, 1), (3, 1), (3, 2), (4, 2)])
def test_legal_a_walk_that_goes_on_and_misses_nothing(n: int, at: int) -> None:
    """It stood at the last SPTE of the first descriptor, or its only one; or the one that has come was visited."""
    stage = shadow()
    assert sorted(walk_that_removes(stage, n, at)) == list(range(n))
    assert stage.violations == []


def test_legal_an_rmap_of_another_slot() -> None:
    stage = Stage(mmu="shadow", slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    stage.write(0, 1)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 1))
    assert stage.final_violations() == []
