# SPDX-License-Identifier: GPL-2.0-only
"""Blocks that are split when logging begins, or where a CLEAR protects."""

from typing import Any

from reference_mmu.arm64.points import MAP_BREAK, MAP_TLBI, SPLIT_LOCK, SPLIT_RELOCK
from reference_mmu.kvm.dirty_log import enable_dirty_log, kvm_clear_dirty_log_protect
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.operations import MISHAP_NO_MEMORY
from reference_mmu.stage2.pte import S2_LOCKED, S2_YOUNG, is_writable, pfn_of
from tests.by_hand import IOCTL, MM
from tests.stage2_by_hand import HUGE, Stage2Stage


def two_blocks(**config: Any) -> Stage2Stage:
    arm = Stage2Stage("arm64", **HUGE, **config)
    arm.write(0, 0)
    arm.write(0, 4)
    return arm


def test_they_are_split_once_the_slot_is_protected_and_flushed() -> None:
    arm = two_blocks()
    first = pfn_of(arm.leaf(4))
    enable = arm.run(IOCTL, enable_dirty_log(arm.m, 0))
    assert [arm.level(gfn) for gfn in range(8)] == [1] * 8
    assert not any(is_writable(arm.leaf(gfn)) for gfn in range(8))
    assert all(arm.leaf(gfn) & S2_YOUNG for gfn in range(8))
    assert pfn_of(arm.leaf(6)) == first + 2
    assert enable.points.count(SPLIT_RELOCK) == enable.points.count(MAP_TLBI) == 2
    assert arm.final_violations() == []


def test_a_block_is_locked_while_its_table_comes() -> None:
    arm = two_blocks()
    enable = arm.thread(IOCTL, enable_dirty_log(arm.m, 0)).to(MAP_TLBI)
    assert arm.pte(0, 2) == S2_LOCKED
    enable.finish()


def test_mmu_lock_is_free_while_pages_are_got() -> None:
    arm = two_blocks()
    enable = arm.thread(IOCTL, enable_dirty_log(arm.m, 0)).to(SPLIT_RELOCK)
    arm.write(1, 5)  # puts a table there by itself, with the one page that it needs
    assert [arm.level(gfn) for gfn in range(4, 8)] == [0, 1, 0, 0]
    enable.finish()
    assert [arm.level(gfn) for gfn in range(8)] == [1, 1, 1, 1, 0, 1, 0, 0]
    assert arm.final_violations() == []


def test_without_memory_they_stay() -> None:
    arm = two_blocks()
    arm.m.mishaps = MISHAP_NO_MEMORY
    arm.run(IOCTL, enable_dirty_log(arm.m, 0))
    assert arm.level(0) == arm.level(4) == 2


def test_they_stay_if_nobody_has_asked_for_it() -> None:
    arm = two_blocks(eager_split=False)
    assert SPLIT_LOCK not in arm.run(IOCTL, enable_dirty_log(arm.m, 0)).points
    assert arm.level(0) == 2


def test_a_log_that_is_all_set_at_first_is_protected_and_split_by_each_clear() -> None:
    arm = two_blocks(manual_protect=True, initially_set=True)
    assert SPLIT_LOCK not in arm.run(IOCTL, enable_dirty_log(arm.m, 0)).points
    assert is_writable(arm.leaf(0))
    arm.run(IOCTL, kvm_clear_dirty_log_protect(arm.m, 0, 0, 4))
    assert arm.level(0) == 1
    assert not is_writable(arm.leaf(0))
    assert arm.level(4) == 2
    assert is_writable(arm.leaf(4))
    assert arm.final_violations() == []


def test_an_access_while_it_is_broken_may_be_forgotten() -> None:
    """mmu_lock is held for write, so the entry is stored without a look at what hardware has set in it."""
    arm = two_blocks()
    arm.run(MM, kvm_mmu_notifier_clear_young(arm.m, 0, 8))
    arm.m.flush_all()
    enable = arm.thread(IOCTL, enable_dirty_log(arm.m, 0)).to(MAP_BREAK)
    arm.read(1, 0)
    enable.finish()
    assert enable.warnings == 0
    assert arm.final_violations() == []
