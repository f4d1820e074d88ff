# SPDX-License-Identifier: GPL-2.0-only
"""What CPUs of arm64 may have cached, and what a TLBI takes away."""

from typing import Any

from reference_mmu.arm64.points import UNMAP_TLBI
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_flush_young, kvm_mmu_notifier_clear_young
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_FIXED
from reference_mmu.points import AGE_FLUSH
from reference_mmu.stage2.points import WALK_FILL, WALK_LEAF
from reference_mmu.stage2.pte import S2_YOUNG
from tests.by_hand import MM
from tests.stage2_by_hand import Stage2Stage


def stage(**config: Any) -> Stage2Stage:
    return Stage2Stage("arm64", **config)


def test_the_walker_makes_a_leaf_young_where_hardware_does() -> None:
    arm = stage()
    arm.read(0, 1)
    arm.run(MM, kvm_mmu_notifier_clear_young(arm.m, 1, 2))
    arm.m.flush_all()
    assert not arm.leaf(1) & S2_YOUNG
    assert arm.read(0, 1).faults == []
    assert arm.leaf(1) & S2_YOUNG


def test_what_is_cached_is_used_unseen_until_it_is_flushed() -> None:
    """KVM flushes on arm64 when it has cleared access flags: there is no elision."""
    arm = stage()
    arm.read(0, 1)
    age = arm.thread(MM, kvm_mmu_notifier_clear_flush_young(arm.m, 1, 2)).to(AGE_FLUSH)
    arm.read(0, 1)
    assert not arm.leaf(1) & S2_YOUNG
    age.finish()
    arm.read(0, 1)
    assert arm.leaf(1) & S2_YOUNG


def test_a_store_faults_from_a_read_only_entry_that_is_older_than_the_leaf() -> None:
    arm = stage()
    arm.access(0, 1, upgrade_fails=True).finish()
    arm.access(1, 1, upgrade_fails=True).finish()
    arm.write(0, 1)
    store = arm.access(1, 1, write=True)
    store.step()
    assert not arm.cached(1, 1) & TLB_W
    store.finish()
    assert store.faults == [PF_FIXED]
    assert arm.cached(1, 1) & TLB_W


def test_a_walk_that_a_flush_overtakes_begins_again() -> None:
    arm = stage()
    arm.read(0, 1)
    load = arm.access(1, 1).to(WALK_LEAF)
    arm.run(MM, change_protection_numa(arm.m, 5, 6))
    arm.run(MM, change_protection_numa(arm.m, 1, 2))
    load.finish()
    assert load.faults == [PF_FIXED]
    assert arm.final_violations() == []


def test_an_entry_that_was_just_made_goes_with_the_flush() -> None:
    arm = stage()
    arm.read(0, 1)
    load = arm.access(1, 1).to(WALK_FILL)
    assert arm.cached(1, 1)
    arm.thread(MM, change_protection_numa(arm.m, 1, 2)).to(UNMAP_TLBI).step()
    assert not arm.cached(1, 1)
    load.step()
    assert load.ended is False


def test_pointers_to_tables_go_with_what_the_tables_translate() -> None:
    arm = stage()
    arm.read(0, 1)
    arm.read(0, 5)
    before = arm.m.vcpus[0].structure_cache.n
    arm.run(MM, change_protection_numa(arm.m, 0, 4))
    assert 0 < arm.m.vcpus[0].structure_cache.n < before
    assert arm.violations == []
