# SPDX-License-Identifier: GPL-2.0-only
"""The page fault: its outcomes, what makes it stale, and the races it loses."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.observed import PF_EMULATE, PF_FIXED, PF_RETRY, PF_SPURIOUS, PF_WRITE_PROTECTED
from reference_mmu.points import SLOTS_SRCU
from reference_mmu.x86.points import FAULT_GUP, FAULT_LOCK_R, FAULT_PFN, MAP_LINK, MAP_TARGET
from reference_mmu.x86.spte import VMX_EPT_DIRTY_BIT, is_mmu_writable_spte, is_writable_pte
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, IOCTL, MM, Stage
from tests.parameters import BOTH


@BOTH
def test_a_read_maps_writable_if_the_host_allows(semantics: Semantics) -> None:
    stage = Stage(semantics)
    assert stage.read(0, 1).faults == [PF_FIXED]
    assert is_writable_pte(stage.leaf(1))
    assert stage.access(0, 2, upgrade_fails=True).finish().faults == [PF_FIXED]
    assert not is_mmu_writable_spte(stage.m.masks, stage.leaf(2))


@pytest.mark.reaches("fixed", "emulate")
@BOTH
def test_mmio_and_writes_to_read_only_slots_are_emulated(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0, readonly=True),))
    assert stage.read(0, 20).faults == [PF_EMULATE]
    assert stage.write(0, 1).faults == [PF_EMULATE]
    assert stage.read(0, 1).faults == [PF_FIXED]
    assert not is_writable_pte(stage.leaf(1))


@pytest.mark.reaches("write-protected")
@BOTH
def test_a_write_to_a_tracked_page_is_emulated_and_marks_it_dirty(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 8, 0, logging=True),))
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    assert stage.write(0, 1).faults == [PF_WRITE_PROTECTED]
    assert stage.dirty(1)
    assert stage.m.host.reference[1] != 0


@BOTH
def test_huge_where_host_slot_and_log_allow(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.read(0, 1)
    stage.read(0, 5)
    assert [stage.level(gfn) for gfn in (1, 2, 5)] == [2, 2, 1]
    stage = Stage(semantics, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),))
    stage.read(0, 1)
    assert stage.level(1) == 1
    stage = Stage(semantics, backing=("thp", "thp"), slots=(SlotConfig(1, 6, 0),))  # gfn and hva are not aligned
    stage.read(0, 4)
    assert stage.level(4) == 1


@pytest.mark.reaches("retry")
@BOTH
@pytest.mark.parametrize("point", [FAULT_GUP, FAULT_PFN, FAULT_LOCK_R])
def test_an_invalidation_that_came_since_the_snapshot_makes_it_stale(point: int, semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.read(0, 5)
    reader = stage.access(0, 1).to(point)
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2))
    stage.run(MM, kvm_mmu_notifier_invalidate_range_end(stage.m, 1, 2))
    assert reader.finish().faults == [PF_RETRY, PF_FIXED]
    assert stage.final_violations() == []


@BOTH
def test_an_invalid_slot_is_retried_until_it_is_gone(semantics: Semantics) -> None:
    stage = Stage(semantics)
    deletion = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(SLOTS_SRCU)
    reader = stage.access(0, 1)
    while reader.faults.count(PF_RETRY) < 2:
        reader.step()
    # The grace period waits for the reader that is inside now, and not for its next fault.
    while not deletion.can_run():
        reader.step()
    while not deletion.ended:
        (deletion if deletion.can_run() else reader).step()
    assert reader.finish().faults[-1] == PF_EMULATE


def test_the_loser_of_two_write_faults_is_fixed_in_old_and_spurious_in_new() -> None:
    outcomes = []
    for semantics in (OLD, NEW):
        stage = Stage(semantics)
        stage.read(0, 2)
        stage.read(1, 2)
        loser = stage.access(0, 1, write=True).to(FAULT_PFN)
        stage.write(1, 1)
        loser.finish()
        outcomes.append(loser.faults)
        assert stage.leaf(1) & VMX_EPT_DIRTY_BIT  # OLD's guest write sets it again
    assert outcomes == [[PF_FIXED], [PF_SPURIOUS]]


@BOTH
@pytest.mark.parametrize("point", [MAP_LINK, MAP_TARGET])
def test_who_loses_the_cmpxchg_tries_again(point: int, semantics: Semantics) -> None:
    stage = Stage(semantics)
    if point == MAP_TARGET:
        stage.read(1, 2)
    loser = stage.access(0, 1, write=True).to(point)
    stage.write(1, 1)
    loser.finish()
    assert loser.faults[0] == PF_RETRY
    assert stage.final_violations() == []


@BOTH
def test_a_prefetch_overwrites_nothing(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    before = stage.leaf(1)
    stage.access(1, 1).finish()
    assert stage.leaf(1) == before


@BOTH
def test_the_page_is_marked_and_released(semantics: Semantics) -> None:
    stage = Stage(semantics)
    page = stage.m.host.pages[int(stage.m.host.pte[1])]
    stage.access(0, 1, upgrade_fails=True).finish()
    assert (page.dirty, page.kvm_refs) == (False, 0)
    stage.write(1, 1)
    assert (page.dirty, page.kvm_refs) == (True, 0)
