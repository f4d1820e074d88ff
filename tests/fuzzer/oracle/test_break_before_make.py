# SPDX-License-Identifier: GPL-2.0-only
"""Break before make on arm64: a valid entry is replaced by way of an invalid one that no CPU uses."""

import pytest

from reference_mmu.arm64.points import MAP_BREAK, MAP_MAKE, MAP_TLBI, SPLIT_LOCK
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.observed import PF_FIXED
from reference_mmu.points import SLOTS_SRCU
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, make_leaf
from tests.by_hand import IOCTL
from tests.stage2_by_hand import HUGE, Stage2Stage

RIGHTS = S2_WRITE | S2_MAY_WRITE | S2_YOUNG


@pytest.fixture
def mapped() -> Stage2Stage:
    """gfn 1 is mapped and cached by vCPU 0; actor 0 holds mmu_lock."""
    stage = Stage2Stage("arm64")
    stage.read(0, 1)
    stage.m.write_lock()
    return stage


def test_accepts_a_block_that_becomes_a_table() -> None:
    stage = Stage2Stage("arm64", **HUGE)
    stage.write(0, 5)
    enable = stage.thread(IOCTL, enable_dirty_log(stage.m, 0)).to(SPLIT_LOCK)
    stage.read(1, 6)
    enable.to(MAP_TLBI)
    assert stage.cached(1, 6)
    enable.to(MAP_MAKE)
    assert not stage.cached(1, 6)
    enable.finish()
    assert stage.final_violations() == []


@pytest.mark.reaches("break-before-make")
def test_rejects_another_page_in_place_of_the_first(mapped: Stage2Stage) -> None:
    sp, index = mapped.entry(1)
    mapped.m.store(sp, index, make_leaf(int(mapped.m.host.pte[2]), RIGHTS))
    assert mapped.violations == ["break-before-make"]


def test_rejects_what_is_made_while_a_cpu_uses_what_was_there(mapped: Stage2Stage) -> None:
    sp, index = mapped.entry(1)
    leaf = sp.spt[index]
    mapped.m.store(sp, index, 0)
    assert mapped.violations == []
    mapped.m.store(sp, index, leaf)
    assert mapped.violations == ["break-before-make"]


def test_odd_and_legal_a_leaf_in_a_table_that_has_just_been_replaced_by_a_block() -> None:
    """Logging ends between the two faults, so one makes pages and the other a block."""
    stage = Stage2Stage("arm64", slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),), **HUGE)
    stage.read(0, 6)
    load = stage.access(1, 7).to(MAP_BREAK)
    disable = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(SLOTS_SRCU)
    stage.write(0, 5)
    assert stage.level(7) == 2
    stage.read(0, 7)
    load.finish()
    disable.finish()
    assert load.faults == [PF_FIXED]
    assert stage.level(7) == 2
    assert stage.final_violations() == []


def test_odd_and_legal_rights_and_young_bits_change_in_place(mapped: Stage2Stage) -> None:
    sp, index = mapped.entry(1)
    leaf = sp.spt[index]
    mapped.m.store(sp, index, leaf & ~(S2_WRITE | S2_YOUNG))
    mapped.m.store(sp, index, leaf)
    assert mapped.cached(0, 1)
    assert mapped.violations == []
