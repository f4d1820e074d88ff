# SPDX-License-Identifier: GPL-2.0-only
"""Chains of SPTEs: which descriptor holds what, in which order a walk comes by, and what removing does to that."""

import pytest

from reference_mmu.x86.page_table import KvmRmapHead
from reference_mmu.x86.shadow_mmu.mmu_spte import mmu_spte_clear_no_track
from reference_mmu.x86.shadow_mmu.pte_list import RmapIterator, pte_list_add, pte_list_remove
from tests.by_hand import Stage


class Chain:
    """The chain of the first `n` entries of a table, all of them present, added in their order."""

    def __init__(self, n: int) -> None:
        self.stage = Stage(mmu="shadow")
        self.m = self.stage.m
        self.sp = self.m.alloc_table(1, 0, None)
        self.head = KvmRmapHead()
        for index in range(n):
            self.sp.spt[index] = self.m.masks.shadow_present_mask | 1 << 11
            pte_list_add(self.head, self.sp, index)

    def remove(self, index: int) -> None:
        pte_list_remove(self.m, self.head, self.sp, index)

    def order(self) -> list[int]:
        return [index for _, index in self.head.sptes()]

    def walk(self) -> list[int]:
        visited, it = [], RmapIterator(self.m, self.head)
        while it.more():
            visited.append(int(it.index))
        return visited

    def descriptors(self) -> list[list[int]]:
        found, desc = [], self.head.desc
        while desc is not None:
            found.append([index for _, index in desc.sptes])
            desc = desc.more
        return found


@pytest.mark.parametrize(
    ("n", "descriptors"), [(0, []), (1, []), (2, [[0, 1]]), (3, [[2], [0, 1]]), (4, [[2, 3], [0, 1]])]
)
def test_only_the_first_descriptor_has_room(n: int, descriptors: list[list[int]]) -> None:
    chain = Chain(n)
    assert chain.descriptors() == descriptors
    assert chain.order() == chain.walk() == ([0] if n == 1 else [index for desc in descriptors for index in desc])
    assert chain.head.is_empty() == (n == 0)


@pytest.mark.parametrize(
    ("n", "removed", "descriptors"),
    [(2, 0, [[1]]), (2, 1, [[0]]), (3, 0, [[2, 1]]), (3, 2, [[0, 1]]), (4, 1, [[2], [0, 3]]), (4, 3, [[2], [0, 1]])],
)
def test_the_hole_is_filled_from_the_first_descriptor(n: int, removed: int, descriptors: list[list[int]]) -> None:
    chain = Chain(n)
    chain.remove(removed)
    assert chain.descriptors() == descriptors


def test_a_chain_ends_empty_whatever_the_order() -> None:
    for n in (1, 2, 3, 4):
        for first in range(n):
            chain = Chain(n)
            for index in [first, *(other for other in range(n) if other != first)]:
                chain.remove(index)
            assert chain.head.is_empty()


def test_a_descriptor_is_freed_with_its_last_spte() -> None:
    chain = Chain(3)
    first = chain.head.desc
    assert first is not None
    chain.remove(2)
    assert first.freed
    assert first.more is not None
    assert chain.head.desc is first.more
    assert not first.more.freed


def test_no_chain_has_nothing_to_visit() -> None:
    assert not RmapIterator(Stage(mmu="shadow").m, None).more()


def test_a_walk_that_begins_again_after_each_removal_visits_all() -> None:
    chain = Chain(4)
    visited, it = [], RmapIterator(chain.m, chain.head)
    while it.more():
        visited.append(int(it.index))
        chain.remove(int(it.index))
        it.restart()
    assert sorted(visited) == [0, 1, 2, 3]
    assert chain.stage.violations == []


def test_a_chain_that_holds_what_is_not_present_is_a_bug() -> None:
    chain = Chain(2)
    mmu_spte_clear_no_track(chain.m, chain.sp, 1)
    before = chain.stage.violations
    chain.walk()
    assert [name for name in chain.stage.violations if name not in before] == ["bug"]
