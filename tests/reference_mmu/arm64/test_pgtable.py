# SPDX-License-Identifier: GPL-2.0-only
"""Break before make: what others see while an entry is replaced, and what is flushed for it."""

from typing import Any

from reference_mmu.arm64.points import APPLY_RELOCK, FAULT_LOCK, MAP_BREAK, MAP_MAKE, MAP_TLBI, RELAX_SET, UNMAP_TLBI
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_FIXED, PF_RETRY
from reference_mmu.points import FAULT_RETRY
from reference_mmu.stage2.pte import S2_LOCKED, is_table, is_writable
from tests.by_hand import IOCTL, MM, Thread, is_freed
from tests.stage2_by_hand import HUGE, Stage2Stage


def stage(**config: Any) -> Stage2Stage:
    return Stage2Stage("arm64", **config)


def logged_block() -> Stage2Stage:
    """gfns 4 to 7 are a block that is write-protected; both vCPUs have it in their TLBs."""
    arm = stage(eager_split=False, **HUGE)
    arm.write(0, 5)
    arm.run(IOCTL, enable_dirty_log(arm.m, 0))
    arm.read(0, 5)
    arm.read(1, 5)
    return arm


def test_nothing_is_broken_where_nothing_is_valid() -> None:
    arm = stage()
    store = arm.write(0, 1)
    assert MAP_TLBI not in store.points
    assert store.points.count(MAP_BREAK) == 3  # two tables and a leaf


def test_a_block_that_becomes_a_table_is_locked_until_nobody_uses_it() -> None:
    arm = logged_block()
    store = arm.access(0, 5, write=True).to(MAP_TLBI)
    assert arm.pte(5, 2) == S2_LOCKED
    assert arm.cached(1, 6)  # the TLBI is under way
    store.to(MAP_MAKE)
    assert arm.pte(5, 2) == S2_LOCKED
    assert not arm.cached(1, 6)
    store.finish()
    assert is_table(arm.pte(5, 2))
    assert store.flushes == 1
    assert arm.final_violations() == []


def two_stores(arm: Stage2Stage, first: tuple[int, int], second: tuple[int, int]) -> tuple[Thread, Thread]:
    """Stores of two vCPUs, each (gfn, the point to which it comes before the first goes on)."""
    threads = tuple(arm.access(vcpu, gfn, write=True).to(point) for vcpu, (gfn, point) in enumerate((first, second)))
    for thread in threads:
        thread.finish()
    return threads[0], threads[1]


def test_who_meets_a_locked_entry_lets_the_guest_try_again() -> None:
    arm = logged_block()
    _, second = two_stores(arm, (5, MAP_MAKE), (6, FAULT_RETRY))
    assert second.faults == [PF_RETRY, PF_FIXED]
    assert is_writable(arm.leaf(5))
    assert is_writable(arm.leaf(6))


def test_who_loses_the_cmpxchg_lets_the_guest_try_again() -> None:
    arm = stage()
    first, second = two_stores(arm, (1, MAP_BREAK), (1, MAP_BREAK))
    assert first.faults == [PF_FIXED]
    assert second.faults == [PF_RETRY]
    assert arm.final_violations() == []


def test_a_leaf_that_is_there_already_is_left_alone() -> None:
    """Both vCPUs found nothing; the second one finds the leaf of the first and has nothing to do."""
    arm = stage()
    second = arm.access(1, 1, write=True).to(FAULT_LOCK)
    arm.write(0, 1)
    leaf = arm.leaf(1)
    second.finish()
    assert second.faults == [PF_RETRY]
    assert arm.leaf(1) == leaf


def test_rights_are_not_added_to_a_leaf_that_changes_meanwhile() -> None:
    arm = stage()
    arm.access(0, 1, upgrade_fails=True).finish()
    first = arm.access(0, 1, write=True).to(RELAX_SET)
    arm.access(1, 1, write=True).finish()
    first.finish()
    assert first.faults[0] == PF_RETRY


def test_unmapping_flushes_what_it_clears_and_nothing_else() -> None:
    arm = stage()
    for gfn in (1, 2, 5):
        arm.read(0, gfn)
    unmap = arm.thread(MM, change_protection_numa(arm.m, 1, 2)).to(UNMAP_TLBI)
    assert arm.leaf(1) == 0
    assert arm.cached(0, 1)
    unmap.finish()
    assert not arm.cached(0, 1)
    assert arm.cached(0, 2)
    assert arm.cached(0, 5)
    assert unmap.flushes == 1


def test_unmapping_frees_the_tables_that_are_empty_then() -> None:
    arm = stage()
    arm.read(0, 1)
    arm.read(0, 5)
    low, _ = arm.entry(1)
    high, _ = arm.entry(1, 2)
    arm.run(MM, change_protection_numa(arm.m, 0, 4))
    assert is_freed(low)
    assert not is_freed(high)  # it still leads to gfn 5
    arm.run(MM, change_protection_numa(arm.m, 4, 8))
    assert is_freed(high)
    assert arm.final_violations() == []


def test_unmapping_part_of_a_block_unmaps_all_of_it() -> None:
    arm = stage(**HUGE)
    arm.read(0, 5)
    arm.run(MM, change_protection_numa(arm.m, 6, 7))
    assert arm.level(5) == 0
    assert not arm.cached(0, 5)


def test_a_shared_walk_is_in_an_rcu_section() -> None:
    """Tables are freed by other faults: mmu_lock for read keeps nobody out."""
    arm = stage()
    store = arm.access(0, 1, write=True).to(MAP_MAKE)
    arm.m.rcu.unlock(0)
    arm.m.actor = 0
    sp, index = arm.entry(1)
    arm.m.store(sp, index, 0)
    assert arm.violations == ["unlocked-store"]
    assert store.ended is False


def test_a_long_range_gives_mmu_lock_away_where_somebody_waits() -> None:
    arm = stage()
    arm.read(0, 1)
    arm.read(0, 5)
    unmap = arm.thread(IOCTL, enable_dirty_log(arm.m, 0))
    arm.m.resched = 1  # of the region around gfn 0
    unmap.to(APPLY_RELOCK)
    assert arm.m.mmu_lock.state == 0
    assert not is_writable(arm.leaf(1))
    assert is_writable(arm.leaf(5))
    unmap.finish()
    assert not is_writable(arm.leaf(5))
    assert arm.final_violations() == []
