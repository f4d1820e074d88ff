# SPDX-License-Identifier: GPL-2.0-only
"""What an observer reads of entries of a stage-2 table."""

import pytest

from reference_mmu.kvm import observer
from reference_mmu.stage2.pte import S2_DIRTY, S2_LOCKED, S2_MAY_WRITE, S2_WRITE, S2_YOUNG, make_leaf, make_table
from tests.stage2_by_hand import Stage2Stage

BOTH_WRITE = S2_WRITE | S2_MAY_WRITE


@pytest.fixture
def stage() -> Stage2Stage:
    return Stage2Stage("arm64")


@pytest.mark.parametrize(
    ("pte", "kind"),
    [
        (0, observer.PTE_NONE),
        (S2_LOCKED, observer.PTE_FROZEN),
        (make_table(3), observer.PTE_TABLE),
        (make_leaf(3, S2_YOUNG), observer.PTE_LEAF),
    ],
)
def test_what_an_entry_is(stage: Stage2Stage, pte: int, kind: int) -> None:
    assert stage.m.pte_kind(pte, 1) == kind


@pytest.mark.parametrize(
    ("bits", "may_write", "writable", "words"),
    [
        (0, False, False, "pfn 3"),
        (S2_MAY_WRITE | S2_YOUNG, True, False, "pfn 3 may-W young"),
        (BOTH_WRITE | S2_DIRTY, True, True, "pfn 3 W may-W D"),
    ],
)
def test_what_a_leaf_says(stage: Stage2Stage, bits: int, may_write: bool, writable: bool, words: str) -> None:
    leaf = make_leaf(3, bits)
    assert stage.m.pte_pfn(leaf) == 3
    assert stage.m.pte_may_write(leaf) is may_write
    assert stage.m.pte_writable(leaf) is writable
    assert stage.m.leaf_words(leaf) == words


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (BOTH_WRITE, BOTH_WRITE, 0),
        (BOTH_WRITE, S2_MAY_WRITE, 0),
        (BOTH_WRITE, 0, observer.LEAF_ELSE),
        (S2_YOUNG, 0, observer.LEAF_ACCESSED),
        (S2_YOUNG, S2_DIRTY, observer.LEAF_ACCESSED | observer.LEAF_DIRTY),
    ],
)
def test_in_what_two_leaves_differ(stage: Stage2Stage, one: int, other: int, difference: int) -> None:
    assert stage.m.leaf_difference(make_leaf(3, one), stage.m, make_leaf(3, other)) == difference


@pytest.mark.parametrize(("sets", "bits"), [(True, S2_YOUNG), (False, 0)])
def test_what_the_page_walker_may_set_at_any_time(sets: bool, bits: int) -> None:
    assert Stage2Stage("arm64", hardware_young=sets).m.hardware_bits() == bits
