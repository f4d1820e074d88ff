# SPDX-License-Identifier: GPL-2.0-only
"""Walks of a stage-2 table under mmu_lock, on a machine that has nothing of an architecture but the table."""

import pytest

from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_invalidate_range_start,
    kvm_mmu_notifier_test_young,
)
from reference_mmu.observed import COUNT_CHANGES, COUNT_VISITS
from reference_mmu.points import INV_FLUSH
from reference_mmu.stage2.memory_cache import CAPACITY, kvm_mmu_memory_cache_alloc, kvm_mmu_topup_memory_cache
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf, is_table, is_writable, make_leaf, pfn_of
from reference_mmu.stage2.table import find, leaves, split, unmap, walk_to
from reference_mmu.stage2.write_protect import masked_range, write_protect
from tests.by_hand import MM
from tests.stage2_by_hand import Stage2Stage

RIGHTS = S2_WRITE | S2_MAY_WRITE | S2_YOUNG


@pytest.fixture
def plain() -> Stage2Stage:
    """Its actor 0 holds mmu_lock. gfn 1 is a page, gfns 4 to 7 are a block."""
    stage = Stage2Stage("arm64")
    stage.m.write_lock()
    for gfn, level in ((1, 1), (4, 2)):
        sp, index = walk_to(stage.m, gfn, level)
        stage.m.store(sp, index, make_leaf(int(stage.m.host.pte[gfn]), RIGHTS))
    return stage


def test_a_walk_makes_the_tables_that_are_missing(plain: Stage2Stage) -> None:
    high, _ = find(plain.m, 9)
    assert high.level == 2
    low, index = walk_to(plain.m, 9, 1)
    assert (low.level, index, low.gfn) == (1, 1, 8)
    assert is_table(plain.pte(9, 2))


def test_a_walk_ends_at_a_block(plain: Stage2Stage) -> None:
    sp, index = walk_to(plain.m, 6, 1)
    assert (sp.level, index) == (2, 1)


@pytest.mark.parametrize(("start", "end", "levels"), [(0, 8, [1, 2]), (0, 2, [1]), (2, 4, []), (6, 7, [2])])
def test_leaves_of_a_range_blocks_as_a_whole(plain: Stage2Stage, start: int, end: int, levels: list[int]) -> None:
    found = leaves(plain.m, start, end)
    assert [sp.level for sp, _ in found] == levels
    assert all(is_leaf(sp.spt[index]) for sp, index in found)


def test_a_split_block_translates_alike(plain: Stage2Stage) -> None:
    before = pfn_of(plain.leaf(4))
    sp, index = plain.entry(6, 2)
    split(plain.m, sp, index)
    assert [plain.leaf(gfn) for gfn in range(4, 8)] == [make_leaf(before + n, RIGHTS) for n in range(4)]
    assert plain.violations == ["break-before-make"]  # of arm64, which for that reason does it in another way


def test_unmapping_leaves_the_flush_to_the_caller(plain: Stage2Stage) -> None:
    """So whoever releases mmu_lock without it is told."""
    plain.m.vcpus[1].tlb.put(plain.m.tlb_key(6, 2), pfn_of(plain.leaf(4)) << 12 | 1)
    thread = plain.run(0, unmap(plain.m, 5, 6))
    assert thread.result is True
    assert plain.level(4) == 0
    assert plain.level(1) == 1
    assert plain.violations == []
    plain.m.write_unlock()
    assert plain.violations == ["stale-translation"]


def test_write_protection_keeps_what_may_come_back(plain: Stage2Stage) -> None:
    thread = plain.run(0, write_protect(plain.m, 0, 8))
    assert thread.result is True
    assert not is_writable(plain.leaf(1))
    assert plain.leaf(1) & S2_MAY_WRITE
    again = plain.run(0, write_protect(plain.m, 0, 8))
    assert again.result is False
    assert again.points == []


@pytest.mark.parametrize(("mask", "expected"), [(0b0001, (8, 9)), (0b0110, (9, 11)), (0b1001, (8, 12))])
def test_a_mask_is_a_range_with_its_holes(plain: Stage2Stage, mask: int, expected: tuple[int, int]) -> None:
    assert masked_range(plain.m.memslots[0], 8, mask) == expected


def test_aging_looks_at_leaves_and_forgets(plain: Stage2Stage) -> None:
    plain.m.write_unlock()
    asked = plain.run(MM, kvm_mmu_notifier_test_young(plain.m, 6))
    assert asked.young
    assert plain.leaf(4) & S2_YOUNG
    cleared = plain.run(MM, kvm_mmu_notifier_clear_young(plain.m, 0, 8))
    assert cleared.young
    assert cleared.count(COUNT_VISITS) == cleared.count(COUNT_CHANGES) == 2
    assert not (plain.leaf(1) | plain.leaf(4)) & S2_YOUNG
    assert not plain.run(MM, kvm_mmu_notifier_clear_young(plain.m, 0, 8)).young


def test_arm64_owes_no_flush_to_the_notifier(plain: Stage2Stage) -> None:
    plain.m.write_unlock()
    thread = plain.run(MM, kvm_mmu_notifier_invalidate_range_start(plain.m, 0, 8))
    assert INV_FLUSH not in thread.points
    assert thread.flushes == 4  # two leaves, and a table that is empty then on each of two levels


def test_a_cache_is_filled_when_it_holds_too_little(plain: Stage2Stage) -> None:
    m, vcpu = plain.m, plain.m.vcpus[0]
    m.write_unlock()
    assert kvm_mmu_topup_memory_cache(m, vcpu, 2) == 0
    assert m.memory_cache[0] == CAPACITY
    for _ in range(CAPACITY - 1):
        kvm_mmu_memory_cache_alloc(m, vcpu)
    assert kvm_mmu_topup_memory_cache(m, vcpu, 1) == 0
    assert m.memory_cache[0] == 1
    assert kvm_mmu_topup_memory_cache(m, vcpu, 2) == 0
    assert m.memory_cache[0] == CAPACITY
    assert plain.violations == []


def test_an_empty_cache_is_a_warning(plain: Stage2Stage) -> None:
    kvm_mmu_memory_cache_alloc(plain.m, plain.m.vcpus[1])
    assert plain.m.memory_cache[1] == 0
    assert plain.violations == ["warn"]


def test_a_cache_is_not_topped_up_under_mmu_lock(plain: Stage2Stage) -> None:
    kvm_mmu_topup_memory_cache(plain.m, plain.m.vcpus[0], 2)
    assert plain.violations == ["lockdep"]
