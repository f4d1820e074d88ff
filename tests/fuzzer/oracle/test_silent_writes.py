# SPDX-License-Identifier: GPL-2.0-only
"""Pages of logging memslots that become writable."""

import pytest

from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log, kvm_get_dirty_log_protect
from reference_mmu.x86.points import FPF_READ, LOG_PROTECT
from reference_mmu.x86.spte import PT_WRITABLE_MASK
from tests.by_hand import IOCTL, Stage
from tests.parameters import EVERY_MMU

LOGGING = (SlotConfig(base=0, npages=8, hva=0, logging=True),)


def harvested(paging: str, mmu: str = "tdp") -> Stage:
    """gfn 1 was written and taken from the log: nobody can write it now without a trace."""
    stage = Stage(slots=LOGGING, paging=paging, mmu=mmu)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert not stage.dirty(1)
    return stage


@EVERY_MMU
def test_accepts_faults_that_log(mmu: str) -> None:
    stage = harvested("npt", mmu)
    stage.write(0, 1)
    stage.write(1, 2)
    assert stage.dirty(1)
    assert stage.dirty(2)
    assert stage.violations == []


@EVERY_MMU
def test_rejects_a_leaf_that_becomes_writable_and_is_not_logged(mmu: str) -> None:
    stage = harvested("npt", mmu)
    stage.store_and_unlock(1, stage.leaf(1) | PT_WRITABLE_MASK)
    assert stage.violations == ["writable-unlogged"]


@pytest.mark.reaches("writable-unlogged")
def test_rejects_what_pml_does_not_see() -> None:
    """With D set the CPU logs nothing."""
    stage = harvested("ept-ad")
    stage.store_and_unlock(1, stage.leaf(1) | stage.m.masks.hw_dirty)
    assert stage.violations == ["writable-unlogged"]


def test_legal_what_pml_sees() -> None:
    stage = harvested("ept-ad")
    leaf = stage.leaf(1)
    assert leaf & PT_WRITABLE_MASK
    stage.store_and_unlock(1, leaf & ~PT_WRITABLE_MASK, flush=True)
    stage.store_and_unlock(1, leaf)
    assert stage.violations == []


def test_legal_what_is_logged_before_the_lock_is_released() -> None:
    stage = harvested("npt")
    stage.m.write_lock()
    stage.store(1, stage.leaf(1) | PT_WRITABLE_MASK)
    stage.m.mark_page_dirty_in_slot(stage.m.memslots[0], 1)
    stage.m.write_unlock()
    assert stage.violations == []


def test_legal_what_was_writable_when_the_flag_was_set() -> None:
    """It is for the ioctl to find it; until that has ended nothing is promised."""
    stage = Stage(paging="npt")
    stage.write(0, 1)
    writable = stage.leaf(1)
    ioctl = stage.thread(IOCTL, enable_dirty_log(stage.m, 0)).to(LOG_PROTECT)
    m = stage.m
    m.actor = 1  # a vCPU whose fault began before the flag
    m.read_lock()
    stage.store(1, writable & ~PT_WRITABLE_MASK)
    stage.store(1, writable)
    m.read_unlock()
    assert not stage.dirty(1)
    ioctl.finish()
    assert stage.violations == []


def test_legal_w_given_back_without_the_lock() -> None:
    """fast_page_fault() marks when it has stored."""
    stage = harvested("npt")
    stage.m.flush_all()
    stage.access(0, 1, write=True).to(FPF_READ).finish()
    assert stage.dirty(1)
    assert stage.violations == []
