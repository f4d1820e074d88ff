# SPDX-License-Identifier: GPL-2.0-only
"""rmaps and parent_ptes of the shadow MMU, held against the SPTEs."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_invalidate_range_start
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.points import SHADOW_SET
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
    parent, at = sp.parents[0]
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
    parent, at = child.parents[0]
    entry = parent.spt[at]
    drop_parent_pte(stage.m, child, parent, at)
    stage.store(1, entry, level=2)
    assert "rmap-differs" in violations_after_unlock(stage)


def test_rejects_a_parent_that_leads_elsewhere() -> None:
    stage = shadow()
    child, _ = stage.entry(1)
    parent, at = child.parents[0]
    drop_parent_pte(stage.m, child, parent, at)
    child.parents.append((parent, at))
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


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_leaf_that_has_no_rmap_yet() -> None:
    """Between the store and rmap_add() there is room for others, but mmu_lock is held."""
    stage = Stage(mmu="shadow")
    fault = stage.access(0, 1, write=True).to(SHADOW_SET)
    fault.finish()
    assert stage.violations == []


def test_legal_a_leaf_of_a_table_that_nobody_points_to() -> None:
    stage, sp, index = without_parent()
    assert (sp, index) in stage.m.rmap[int(stage.m.tlb_key(1, 1))]
