# SPDX-License-Identifier: GPL-2.0-only
"""The dirty log: what a harvest may leave writable, and whether a migration's copy is complete."""

import pytest

from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import (
    disable_dirty_log,
    enable_dirty_log,
    kvm_clear_dirty_log_protect,
    kvm_get_dirty_log_protect,
)
from reference_mmu.kvm.vcpu import TLB_D, TLB_W
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.points import GET_FLUSH, GET_WORD, USER_COPY
from reference_mmu.powerpc.points import HV_TLBIE
from reference_mmu.x86.points import BACK_LOCK, FPF_MARK, GET_KICK, LOG_ENABLE_FLUSH, WALK_FILL
from reference_mmu.x86.spte import PT_WRITABLE_MASK, is_writable_pte
from reference_mmu.x86.zap_all_fast import kvm_mmu_zap_all_fast
from tests.by_hand import DEVICE, IOCTL, MM, Stage
from tests.deaf import Deaf
from tests.parameters import BOTH, EVERY_MMU, EVERY_PAGING
from tests.powerpc_by_hand import PowerpcStage

LOGGING = (SlotConfig(base=0, npages=8, hva=0, logging=True),)


def logged_by_pml(semantics: Semantics, manual: bool) -> Stage:
    """gfn 1 is clean in the bitmap and in the PML buffer of vCPU 0."""
    stage = Stage(semantics, slots=LOGGING, manual_protect=manual)
    stage.write(0, 1)
    clear = kvm_clear_dirty_log_protect(stage.m, 0, 0, 8) if manual else kvm_get_dirty_log_protect(stage.m, 0)
    stage.run(IOCTL, clear)
    stage.write(0, 1)
    assert stage.m.x86_vcpus[0].pml_buffer == [1]
    assert not stage.dirty(1)
    return stage


# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
@EVERY_PAGING
@EVERY_MMU
def test_accepts_a_whole_migration(mmu: str, paging: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, paging=paging)
    stage.write(0, 1)
    stage.write(1, 5)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    for gfn in (1, 2, 5):
        stage.write(0, gfn)
        stage.write(1, gfn)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert not any(stage.dirty(gfn) for gfn in range(8))
    stage.write(1, 2)
    assert stage.final_violations() == []


@BOTH
def test_accepts_a_page_that_moves_while_it_is_logged(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    stage.run(MM, migrate_page(stage.m, 1))
    stage.write(0, 1)
    stage.run(MM, discard(stage.m, 1, 2))
    assert stage.final_violations() == []


@BOTH
@pytest.mark.parametrize("manual", [True, False])
def test_accepts_a_report_of_what_pml_had_logged(manual: bool, semantics: Semantics) -> None:
    stage = logged_by_pml(semantics, manual)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert stage.m.x86_vcpus[0].pml_buffer == []
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@EVERY_PAGING
def test_rejects_a_harvest_that_one_vcpu_did_not_hear_the_flush_of(paging: str) -> None:
    stage = Stage(paging=paging, slots=LOGGING)
    stage.write(1, 1)
    assert stage.cached(1, 1) & (TLB_W | TLB_D) == TLB_W | TLB_D
    stage.m.x86_vcpus[1].tlb = Deaf(stage.m.x86_vcpus[1].tlb)
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_FLUSH)
    assert stage.violations == []
    harvest.step()
    assert stage.violations == ["writable-after-dirty-log"]


@pytest.mark.reaches("writable-after-dirty-log", "lost-dirty-page")
def test_rejects_what_such_a_vcpu_then_writes() -> None:
    stage = Stage(slots=LOGGING)
    stage.write(1, 1)
    stage.m.x86_vcpus[1].tlb = Deaf(stage.m.x86_vcpus[1].tlb)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert stage.write(1, 1).points == []
    assert stage.final_violations() == ["writable-after-dirty-log", "lost-dirty-page"]


def test_rejects_a_bit_that_got_lost() -> None:
    stage = Stage(slots=LOGGING, paging="ept-ad-nopml")
    stage.write(0, 1)
    stage.m.memslots[0].dirty_bitmap[0] = 0
    assert stage.final_violations() == ["lost-dirty-page"]


def test_rejects_an_enable_that_one_vcpu_did_not_hear_the_flush_of() -> None:
    stage = Stage(paging="ept-ad-nopml")
    stage.write(0, 1)
    stage.m.x86_vcpus[0].tlb = Deaf(stage.m.x86_vcpus[0].tlb)
    enable = stage.thread(IOCTL, enable_dirty_log(stage.m, 0)).to(LOG_ENABLE_FLUSH)
    assert stage.violations == []
    enable.step()
    assert stage.violations == ["writable-after-dirty-log"]


def test_rejects_a_write_that_w_given_back_by_hand_hides() -> None:
    """A flow that restores W without marking the page: the bitmap never learns of the write."""
    stage = Stage(paging="ept-ad-nopml")
    stage.read(0, 1)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    stage.store(1, stage.leaf(1) | PT_WRITABLE_MASK)
    stage.write(0, 1)
    assert stage.final_violations() == ["lost-dirty-page"]


@EVERY_PAGING
@EVERY_MMU
def test_rejects_an_spte_that_a_harvest_leaves_writable(mmu: str, paging: str) -> None:
    """No TLB holds it, and nobody need ever write: the SPTE is enough."""
    stage = Stage(mmu=mmu, paging=paging, slots=LOGGING)
    stage.write(0, 1)
    writable = stage.leaf(1) | stage.m.masks.hw_dirty
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_FLUSH)
    stage.store(1, writable)
    assert stage.violations == []
    harvest.step()
    assert stage.cached(0, 1) == 0
    assert stage.violations == ["writable-after-dirty-log"]


@pytest.mark.reaches("late-dirty-report")
@pytest.mark.parametrize("manual", [True, False])
def test_rejects_a_report_without_what_pml_had_logged(manual: bool) -> None:
    """An exit that does not drain the buffer, as from L2, where nothing is logged."""
    stage = logged_by_pml(OLD, manual)
    stage.m.x86_vcpus[0].guest_mode = True
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_KICK)
    assert stage.violations == []
    harvest.finish()
    assert stage.violations[0] == "late-dirty-report"


@pytest.mark.reaches("late-dirty-report")
def test_rejects_a_report_without_what_the_table_had_logged() -> None:
    """A harvest that never looked at the C bits."""
    stage = PowerpcStage("book3s_radix", slots=LOGGING)
    stage.write(0, 1)
    stage.judge.harvest_begun(stage.m)
    stage.judge.bitmap_read(stage.m, stage.m.memslots[0])
    assert stage.violations == ["late-dirty-report"]


def test_accepts_a_report_of_what_the_table_had_logged() -> None:
    stage = PowerpcStage("book3s_radix", slots=LOGGING)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert stage.violations == []


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_report_without_what_an_unmapping_is_about_to_log() -> None:
    """It has taken the entry away, C bit and all, and waits for the tlbie before it logs the page."""
    stage = PowerpcStage("book3s_radix", slots=LOGGING)
    stage.write(0, 1)
    stage.judge.harvest_begun(stage.m)
    stage.thread(MM, change_protection_numa(stage.m, 1, 2)).to(HV_TLBIE)
    stage.m.actor = 0
    stage.judge.bitmap_read(stage.m, stage.m.memslots[0])
    assert stage.violations == []


@pytest.mark.parametrize("flavour", ["book3s_radix", "book3s_hv"])
def test_legal_an_ioctl_that_returns_while_an_unmapping_is_about_to_log(flavour: str) -> None:
    """The guest writes through its TLB until the tlbie is over, and C goes into the bitmap after that."""
    stage = PowerpcStage(flavour, slots=LOGGING)
    stage.write(0, 1)
    unmapping = stage.thread(MM, change_protection_numa(stage.m, 1, 2)).to(HV_TLBIE)
    stage.m.actor = IOCTL
    stage.judge.dirty_log_returned(stage.m, stage.m.memslots[0])
    assert stage.violations == []
    unmapping.finish()
    assert stage.m.is_dirty(stage.m.memslots[0], 1)
    assert stage.m.logged_in_flight() == []


@EVERY_PAGING
def test_legal_a_page_reported_that_nobody_wrote(paging: str) -> None:
    """A read fault maps writable and so sets the bit."""
    stage = Stage(paging=paging, slots=LOGGING)
    stage.read(0, 1)
    assert stage.dirty(1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert stage.final_violations() == []


def test_legal_a_gfn_that_is_still_in_a_pml_buffer() -> None:
    """Kicked before, logged after: in flight until the vCPU's next exit, though the ioctl returned without the bit."""
    stage = Stage(slots=LOGGING)
    stage.read(1, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    writer = stage.access(1, 1, write=True)
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_KICK)
    harvest.step()
    writer.finish()
    assert stage.m.x86_vcpus[1].pml_buffer == [1]
    assert stage.cached(1, 1) & (TLB_W | TLB_D) == TLB_W | TLB_D
    harvest.finish()
    assert not stage.dirty(1)
    assert stage.final_violations() == []


def test_legal_the_window_of_the_fast_fault_between_store_and_bit() -> None:
    """The SPTE is writable, the bit not yet set; with another vCPU using the SPTE the ioctl returns."""
    stage = Stage(paging="ept-ad-nopml", slots=LOGGING)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    writer = stage.access(0, 1, write=True).to(FPF_MARK)
    assert is_writable_pte(stage.leaf(1))
    stage.read(1, 1)
    assert stage.cached(1, 1) & TLB_W
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert not stage.dirty(1)
    writer.finish()
    assert stage.dirty(1)
    assert stage.final_violations() == []


def test_legal_a_write_between_the_taken_bit_and_the_flush() -> None:
    """It is in the page that userspace copies afterwards."""
    stage = Stage(slots=LOGGING, paging="ept-ad-nopml")
    stage.write(0, 1)
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_FLUSH)
    assert stage.write(0, 1).points == []
    harvest.finish()
    assert stage.final_violations() == []


def test_legal_a_write_between_the_ioctl_and_the_copy() -> None:
    stage = Stage(slots=LOGGING, paging="ept-ad-nopml")
    stage.write(0, 1)
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(USER_COPY)
    assert stage.write(0, 1).faults != []
    assert stage.dirty(1)
    harvest.finish()
    assert stage.final_violations() == []


def test_legal_a_stale_bit_between_its_taking_and_the_protection() -> None:
    stage = Stage(slots=LOGGING, paging="ept-ad-nopml")
    stage.read(1, 5)
    stage.write(0, 1)
    harvest = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_WORD)
    assert not stage.dirty(1)
    assert is_writable_pte(stage.leaf(1))
    writer = stage.access(1, 1, write=True).to(WALK_FILL)
    harvest.finish()
    writer.finish()
    assert stage.final_violations() == []


def test_legal_initially_set_leaves_everything_writable() -> None:
    """Every bit is set, so every page will be copied; the first CLEAR protects."""
    stage = Stage(manual_protect=True, initially_set=True, paging="ept-ad-nopml")
    stage.write(0, 1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert enable.flushes == 0
    assert stage.cached(0, 1) & TLB_W
    assert all(stage.dirty(gfn) for gfn in range(8))
    stage.run(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 4))
    assert stage.cached(0, 1) == 0
    stage.write(0, 1)
    assert stage.final_violations() == []


def test_legal_manual_protection_only_looks() -> None:
    stage = Stage(manual_protect=True, slots=LOGGING, paging="ept-ad-nopml")
    stage.write(0, 1)
    get = stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert (get.flushes, stage.dirty(1), stage.cached(0, 1) & TLB_W) == (0, True, TLB_W)
    assert stage.violations == []


def test_legal_nothing_is_owed_once_logging_is_off() -> None:
    stage = Stage(slots=LOGGING)
    stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    stage.write(0, 1)
    assert stage.final_violations() == []


def test_legal_what_pml_logged_before_the_kick_of_a_vcpu_that_has_yet_to_exit() -> None:
    """The kick does not wait: the page is in the next report."""
    stage = Stage(slots=LOGGING)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    writer = stage.access(0, 1, write=True).to(WALK_FILL)
    assert stage.m.x86_vcpus[0].pml_buffer == [1]
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert not stage.dirty(1)
    writer.finish()
    assert stage.dirty(1)
    assert stage.final_violations() == []


def test_legal_an_spte_with_w_but_without_d_where_pml_logs() -> None:
    stage = Stage(slots=LOGGING)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert is_writable_pte(stage.leaf(1))
    assert stage.leaf(1) & stage.m.masks.hw_dirty == 0
    assert stage.violations == []


def test_legal_a_writable_spte_of_a_root_that_nobody_can_load() -> None:
    """Its vCPU drops it before it enters again."""
    stage = Stage(slots=LOGGING, paging="ept-ad-nopml")
    stage.write(0, 1)
    obsolete = stage.root()
    zap = stage.thread(DEVICE, kvm_mmu_zap_all_fast(stage.m)).to(BACK_LOCK)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert not stage.dirty(1)
    assert is_writable_pte(stage.m.leaf_of(obsolete, 1)[0])
    zap.finish()
    assert stage.final_violations() == []
