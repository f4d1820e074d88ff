# SPDX-License-Identifier: GPL-2.0-only
"""Memslot changes: delete, move, create; with the zap-all quirk and without."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_create_memslot, kvm_delete_memslot, kvm_move_memslot
from reference_mmu.kvm.memslots import find_slot
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.points import FAULT_ENTER, SLOTS_LOCK, SLOTS_PREPARE, SLOTS_SRCU, SLOTS_SRCU_END, SLOTS_SWAP
from reference_mmu.x86.points import BACK_LOCK, FRONT_FLUSH, FRONT_REQUEST, TRACK_LOCK
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, IOCTL, MM, Stage
from tests.parameters import BOTH

TWO = (SlotConfig(0, 4, 0), SlotConfig(4, 4, 4))


@BOTH
def test_with_the_quirk_every_root_goes_without_a_flush(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=TWO)
    stage.write(0, 1)
    stage.write(0, 5)
    root = stage.root()
    deletion = stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert root.invalid
    assert {FRONT_REQUEST, BACK_LOCK} <= set(deletion.points)
    assert deletion.flushes == 0
    assert stage.read(0, 5).faults != []
    assert stage.violations == []


@BOTH
def test_without_it_only_the_slots_leaves_go_and_the_root_stays(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=TWO, zap_all_quirk=False)
    stage.write(0, 1)
    stage.write(0, 5)
    root = stage.root()
    deletion = stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert not root.invalid
    assert FRONT_FLUSH in deletion.points
    assert deletion.flushes == 1
    assert [stage.level(gfn) for gfn in (1, 5)] == [0, 1]
    assert stage.violations == []


@BOTH
def test_the_swap_waits_for_notifiers_and_then_for_faults(semantics: Semantics) -> None:
    stage = Stage(semantics)
    reader = stage.access(0, 1).to(FAULT_ENTER)
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 5, 6))
    deletion = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(SLOTS_PREPARE)
    assert not deletion.can_run()
    stage.run(MM, kvm_mmu_notifier_invalidate_range_end(stage.m, 5, 6))
    deletion.to(SLOTS_SRCU)
    assert not deletion.can_run()
    # It looked the slot up before, and so has to go round once more; the grace period is over when it leaves.
    while not deletion.can_run():
        reader.step()
    deletion.to(SLOTS_SWAP)
    assert stage.violations == []


@BOTH
def test_a_moved_slot_is_found_at_its_new_place_only(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_move_memslot(stage.m, 0, 16))
    slot = find_slot(stage.m.memslots, 0)
    assert slot is not None
    assert (int(slot.base_gfn), slot.invalid) == (16, False)
    stage.write(0, 17)
    assert [stage.level(gfn) for gfn in (1, 17)] == [0, 1]
    assert stage.m.host.reference[1] == 3  # operation 2 wrote what operation 0 had
    assert stage.final_violations() == []


@BOTH
def test_what_would_overlap_or_exists_is_left_alone(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=TWO)
    assert stage.run(IOCTL, kvm_move_memslot(stage.m, 0, 2)).points == [SLOTS_LOCK]
    assert stage.run(IOCTL, kvm_move_memslot(stage.m, 0, 61)).points == [SLOTS_LOCK]
    assert stage.run(IOCTL, kvm_create_memslot(stage.m, 1)).points == [SLOTS_LOCK]
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 1))
    assert stage.run(IOCTL, kvm_delete_memslot(stage.m, 1)).points == [SLOTS_LOCK]


@BOTH
def test_write_tracking_goes_with_the_slot(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    stage.run(IOCTL, kvm_create_memslot(stage.m, 0))
    assert not stage.m.kvm_gfn_is_write_tracked(1)
    stage.write(0, 1)
    assert stage.violations == []


@BOTH
def test_write_tracking_that_comes_while_its_slot_moves_goes_with_it(semantics: Semantics) -> None:
    """Both before and after the swap: the count is in the old slot, and gfn 5 is now another slot's."""
    for point in (SLOTS_SRCU, SLOTS_SWAP, SLOTS_SRCU_END):
        stage = Stage(semantics, slots=(SlotConfig(base=4, npages=8, hva=0),))
        move = stage.thread(IOCTL, kvm_move_memslot(stage.m, 0, 8)).to(SLOTS_PREPARE)
        track = stage.thread(DEVICE, kvm_write_track_add_gfn(stage.m, 9)).to(TRACK_LOCK)
        while move.can_run() and move.at != point:
            move.step()
        track.finish()
        move.finish()
        assert not stage.m.kvm_gfn_is_write_tracked(9)
        stage.write(0, 9)
        assert stage.final_violations() == []


@BOTH
def test_write_tracking_that_comes_while_its_slot_gets_new_flags_stays(semantics: Semantics) -> None:
    stage = Stage(semantics)
    track = stage.thread(DEVICE, kvm_write_track_add_gfn(stage.m, 1)).to(TRACK_LOCK)
    log = stage.thread(IOCTL, enable_dirty_log(stage.m, 0)).to(SLOTS_SRCU)
    track.finish()
    log.finish()
    assert stage.m.kvm_gfn_is_write_tracked(1)


@BOTH
def test_ioctls_wait_for_each_other(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=TWO)
    stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(SLOTS_PREPARE)
    second = stage.thread(DEVICE, kvm_delete_memslot(stage.m, 1)).to(SLOTS_LOCK)
    assert not second.can_run()


def test_a_memslot_that_nobody_can_find_any_more_is_freed_and_then_not_used() -> None:
    """A fault keeps the one that it found, since SRCU keeps it."""
    stage = Stage()
    (old,) = stage.m.memslots
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    (slot,) = stage.m.memslots
    assert old.freed
    assert not slot.freed
    stage.m.mark_page_dirty_in_slot(slot, 1)
    assert stage.violations == []
    stage.m.mark_page_dirty_in_slot(old, 1)
    assert stage.violations == ["bug"]


def test_the_invalid_copy_of_a_memslot_outlives_whoever_has_found_it() -> None:
    stage = Stage()
    delete = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(SLOTS_SRCU)
    (invalid,) = stage.m.memslots
    delete.to(SLOTS_SRCU_END)
    stage.m.mark_page_dirty_in_slot(invalid, 1)
    assert stage.violations == []
    delete.finish()
    stage.m.mark_page_dirty_in_slot(invalid, 1)
    assert stage.violations == ["bug"]
