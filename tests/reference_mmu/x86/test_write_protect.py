# SPDX-License-Identifier: GPL-2.0-only
"""Write tracking: what it protects, when it flushes, and how it counts."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import kvm_get_dirty_log_protect
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.observed import PF_FIXED, PF_WRITE_PROTECTED
from reference_mmu.x86.points import EMULATE_MARK, TRACK_FLUSH, TRACK_LOCK, TRACK_PROTECT
from reference_mmu.x86.spte import is_mmu_writable_spte, is_writable_pte
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn, kvm_write_track_remove_gfn
from tests.by_hand import DEVICE, IOCTL, MM, Stage, Thread
from tests.parameters import BOTH, EVERY_MMU_OF_BOTH


def track(stage: Stage, gfn: int = 1) -> Thread:
    return stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, gfn))


def untrack(stage: Stage, gfn: int = 1) -> Thread:
    return stage.run(DEVICE, kvm_write_track_remove_gfn(stage.m, gfn))


@EVERY_MMU_OF_BOTH
def test_tracking_takes_w_and_mmu_writable_and_flushes(mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu)
    stage.write(0, 1)
    added = track(stage)
    assert added.points == [TRACK_LOCK, TRACK_PROTECT, TRACK_FLUSH]
    assert not is_writable_pte(stage.leaf(1))
    assert not is_mmu_writable_spte(stage.m.masks, stage.leaf(1))
    assert stage.violations == []


@BOTH
def test_the_emulator_logs_after_its_store(semantics: Semantics) -> None:
    """A harvest in between passes the page over; the copy of the next one has what was written."""
    stage = Stage(semantics, slots=(SlotConfig(0, 8, 0, logging=True),))
    track(stage)
    store = stage.access(0, 1, write=True).to(EMULATE_MARK)
    assert stage.m.host.pages[stage.m.host.pte[1]].data == store.uid + 1
    assert not stage.dirty(1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    store.finish()
    assert stage.dirty(1)
    assert stage.final_violations() == []


@BOTH
def test_what_is_not_mmu_writable_needs_no_flush(semantics: Semantics) -> None:
    """The proof that no TLB entry is writable, and why every loss of MMU_WRITABLE has to flush."""
    stage = Stage(semantics)
    stage.access(0, 1, upgrade_fails=True).finish()
    assert track(stage).points == [TRACK_LOCK]
    stage = Stage(semantics)
    assert track(stage).points == [TRACK_LOCK]


@BOTH
def test_an_access_tracked_page_still_flushes(semantics: Semantics) -> None:
    """W is gone, a writable TLB entry may not be."""
    stage = Stage(semantics, paging="ept-noad")
    stage.write(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert TRACK_FLUSH in track(stage).points
    assert stage.cached(0, 1) == 0


@BOTH
def test_a_tracked_gfn_is_never_under_a_huge_page(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    track(stage, 2)
    stage.read(0, 1)
    assert stage.level(1) == 1
    untrack(stage, 2)
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.read(0, 1)
    track(stage, 2)
    assert not is_writable_pte(stage.leaf(1))
    assert stage.write(0, 1).faults == [PF_FIXED]
    assert stage.level(1) == 1
    assert stage.write(0, 2).faults == [PF_WRITE_PROTECTED]


@BOTH
def test_trackers_are_counted(semantics: Semantics) -> None:
    stage = Stage(semantics)
    track(stage)
    track(stage)
    untrack(stage)
    assert stage.write(0, 1).faults[-1] == PF_WRITE_PROTECTED
    untrack(stage)
    assert stage.write(0, 1).faults[-1] == PF_FIXED
    assert untrack(stage).points == []
    assert stage.violations == []
