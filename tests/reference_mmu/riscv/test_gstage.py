# SPDX-License-Identifier: GPL-2.0-only
"""Ranges of G-stage tables: what is cleared and protected, what is passed over, and what is fenced."""

from typing import Any

import pytest

from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young, kvm_mmu_notifier_invalidate_range_start
from reference_mmu.riscv.points import UNMAP_FENCE, UNMAP_RELOCK, WP_FENCE
from reference_mmu.stage2.pte import S2_YOUNG, is_writable
from tests.by_hand import IOCTL, MM
from tests.stage2_by_hand import Stage2Stage


def stage(**config: Any) -> Stage2Stage:
    return Stage2Stage("riscv", **config)


def unmap(riscv: Stage2Stage, start: int, end: int) -> list[int]:
    """The points that it passes."""
    return riscv.thread(MM, kvm_mmu_notifier_invalidate_range_start(riscv.m, start, end)).finish().points


def test_each_leaf_is_fenced_when_it_is_cleared() -> None:
    riscv = stage()
    for gfn in (1, 2, 5):
        riscv.read(1, gfn)
    assert unmap(riscv, 1, 3).count(UNMAP_FENCE) == 2
    assert [riscv.cached(1, gfn) != 0 for gfn in (1, 2, 5)] == [False, False, True]
    assert riscv.violations == []


def test_mmu_lock_is_given_up_within_a_range() -> None:
    riscv = stage()
    riscv.read(0, 1)
    riscv.read(0, 5)
    riscv.m.resched = 1
    assert UNMAP_RELOCK in unmap(riscv, 0, 8)
    assert riscv.leaf(1) == riscv.leaf(5) == 0


def test_not_when_a_slot_goes() -> None:
    riscv = stage()
    riscv.read(0, 1)
    riscv.m.resched = 1
    assert UNMAP_RELOCK not in riscv.thread(IOCTL, kvm_delete_memslot(riscv.m, 0)).finish().points
    assert riscv.final_violations() == []


@pytest.mark.reaches("mapped-during-invalidation")
def test_the_beginning_of_what_follows_a_hole_is_passed_over() -> None:
    """gfns 0 to 3 have no table: the walk enters that hole at gfn 2, and goes on by its whole size, at gfn 6."""
    riscv = stage()
    riscv.read(0, 5)
    riscv.read(0, 6)
    unmap(riscv, 2, 8)
    assert [riscv.level(gfn) for gfn in (5, 6)] == [1, 0]
    assert "mapped-during-invalidation" in riscv.violations


def test_write_protection_passes_over_it_as_well() -> None:
    riscv = stage(slots=(SlotConfig(base=2, npages=6, hva=0),))
    riscv.write(0, 5)
    riscv.write(0, 7)
    riscv.run(IOCTL, enable_dirty_log(riscv.m, 0))
    assert [is_writable(riscv.leaf(gfn)) for gfn in (5, 7)] == [True, False]


def test_write_protection_fences_what_it_finds_protected_too() -> None:
    riscv = stage()
    riscv.access(0, 1, upgrade_fails=True).finish()
    assert not is_writable(riscv.leaf(1))
    assert WP_FENCE in riscv.thread(IOCTL, enable_dirty_log(riscv.m, 0)).finish().points


def test_of_a_range_the_first_leaf_alone_is_aged() -> None:
    riscv = stage()
    riscv.read(0, 1)
    riscv.read(0, 2)
    riscv.run(MM, kvm_mmu_notifier_clear_young(riscv.m, 1, 3))
    assert [riscv.leaf(gfn) & S2_YOUNG != 0 for gfn in (1, 2)] == [False, True]
