# SPDX-License-Identifier: GPL-2.0-only
"""What the guest reads and writes: freed pages, stale reads, lost writes, writes nobody saw."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mm.host import HOST_D
from reference_mmu.mm.ksm import share_page
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.mm.vmscan import shrink_folio
from reference_mmu.points import INV_CLEAN, INV_IO
from reference_mmu.x86.points import TRACK_FLUSH
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn, kvm_write_track_remove_gfn
from tests.by_hand import DEVICE, MM, Stage
from tests.deaf import Deaf
from tests.parameters import BOTH


def make_old(stage: Stage, hva: int) -> None:
    """Reclaim leaves young pages alone."""
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, hva, hva + 1))


def deafen(stage: Stage, vcpu: int) -> None:
    stage.m.x86_vcpus[vcpu].tlb = Deaf(stage.m.x86_vcpus[vcpu].tlb)


# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("backing", ["anon", "thp", "file", "shmem", "cow"])
def test_accepts_contents_that_survive_everything(backing: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(backing, "anon"))
    for change in (share_page, writeback, shrink_folio, migrate_page):
        stage.write(0, 1)
        stage.write(1, 2)
        make_old(stage, 1)
        stage.run(MM, change(stage.m, 1))
        stage.read(1, 1)
        stage.read(0, 2)
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("stale-read")
def test_rejects_a_read_through_a_stale_entry() -> None:
    """Copy-on-write is broken under it: the deaf vCPU goes on reading the page of the other process."""
    stage = Stage(backing=("cow", "anon"))
    stage.read(1, 1)
    deafen(stage, 1)
    stage.write(0, 1)
    assert "stale-read" not in stage.violations
    stage.read(1, 1)
    assert stage.violations == ["stale-translation", "mapped-during-invalidation", "stale-read"]


@pytest.mark.reaches("freed-page-access")
def test_rejects_an_access_to_a_freed_page() -> None:
    stage = Stage()
    stage.write(1, 1)
    deafen(stage, 1)
    stage.run(MM, migrate_page(stage.m, 1))
    stage.write(1, 1)
    assert stage.violations == [
        *["stale-translation", "mapped-during-invalidation"],
        *["mapped-freed-page", "freed-page-access"],
    ]
    stage.judge.finish(stage.m)
    assert "lost-write" in stage.violations


@pytest.mark.reaches("lost-write")
def test_rejects_a_dirty_page_that_reclaim_took_for_clean() -> None:
    stage = Stage()
    stage.write(0, 1)
    make_old(stage, 1)
    stage.m.host.flags[1] &= ~HOST_D
    stage.m.host.pages[int(stage.m.host.pte[1])].dirty = False
    stage.run(MM, shrink_folio(stage.m, 1))
    assert stage.final_violations() == ["lost-write"]


@pytest.mark.reaches("unsaved-write")
def test_rejects_a_page_that_reclaim_would_take_for_clean() -> None:
    """It need not come to that: both marks are missing when the program ends."""
    stage = Stage()
    stage.write(0, 1)
    stage.m.host.pages[int(stage.m.host.pte[1])].dirty = False
    assert stage.final_violations() == []  # the host PTE knows
    stage.m.host.flags[1] &= ~HOST_D
    assert stage.final_violations() == ["unsaved-write"]


@pytest.mark.reaches("writable-after-tracking", "untracked-write")
def test_rejects_write_tracking_that_one_vcpu_did_not_hear_the_flush_of() -> None:
    stage = Stage()
    stage.write(1, 1)
    deafen(stage, 1)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    assert stage.violations == ["writable-after-tracking", "stale-writable-mmuw"]
    stage.write(1, 1)
    assert stage.violations[2:] == ["untracked-write"]


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_write_to_a_page_that_is_being_written_out() -> None:
    """Invalidation is over, so a fault maps the page again; reclaim sees that it is held or dirty and keeps it."""
    stage = Stage()
    stage.write(0, 1)
    make_old(stage, 1)
    reclaim = stage.thread(MM, shrink_folio(stage.m, 1)).to(INV_CLEAN)
    writer = stage.access(1, 1, write=True)
    reclaim.to(INV_IO)
    reclaim.finish()
    writer.finish()
    assert stage.final_violations() == []


def test_legal_zeroes_after_a_discard() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.run(MM, discard(stage.m, 1, 2))
    stage.read(0, 1)
    assert stage.final_violations() == []


def test_legal_a_write_while_tracking_is_being_added() -> None:
    """The count is up, the flush is not over: nobody has been promised anything yet."""
    stage = Stage()
    stage.write(1, 1)
    track = stage.thread(DEVICE, kvm_write_track_add_gfn(stage.m, 1)).to(TRACK_FLUSH)
    assert stage.cached(1, 1) & TLB_W
    assert stage.write(1, 1).points == []
    track.finish()
    assert stage.violations == []


@BOTH
def test_legal_an_emulated_write_to_a_tracked_page(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    stage.write(1, 1)
    assert stage.cached(1, 1) & TLB_W == 0
    stage.read(0, 1)
    assert stage.final_violations() == []


def test_legal_a_write_after_tracking_ended() -> None:
    stage = Stage()
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    stage.run(DEVICE, kvm_write_track_remove_gfn(stage.m, 1))
    stage.write(1, 1)
    assert stage.cached(1, 1) & TLB_W
    assert stage.violations == []
