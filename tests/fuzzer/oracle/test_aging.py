# SPDX-License-Identifier: GPL-2.0-only
"""What aging should have answered: a rate of each model, never a violation."""

from typing import Any

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_flush_young,
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_test_young,
)
from reference_mmu.mm.mprotect import change_protection_numa
from tests.by_hand import MM, Stage
from tests.parameters import BOTH

# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("paging", ["ept-ad", "ept-noad", "npt"])
def test_accepts_young_for_a_page_that_was_used(paging: str, semantics: Semantics) -> None:
    stage = Stage(semantics, paging=paging)
    stage.read(0, 1)
    assert stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 1, 2)).young
    assert stage.judge.accesses.false_negatives == 0


@BOTH
@pytest.mark.parametrize("forget", [kvm_mmu_notifier_clear_flush_young, change_protection_numa])
def test_accepts_old_for_a_page_that_nobody_used_since(forget: Any, semantics: Semantics) -> None:
    """Since the last answer; or since the Accessed bit went with the SPTE: the primary MMU knows, it invalidated."""
    stage = Stage(semantics)
    stage.read(0, 1)
    stage.run(MM, forget(stage.m, 0, 8))
    assert not stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 0, 8)).young
    assert stage.judge.accesses.false_negatives == 0


# --- rejects ---------------------------------------------------------------------------------------------------


def test_counts_old_for_a_page_used_through_a_stale_entry() -> None:
    """The price of not flushing: the hardware sets A only when it fills its TLB."""
    answers = []
    for semantics in (OLD, NEW):
        stage = Stage(semantics)
        stage.read(0, 1)
        stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 1, 2))
        stage.read(0, 1)
        second = stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 1, 2))
        accesses = stage.judge.accesses
        answers.append((second.young, int(accesses.false_negatives), accesses.false_negative_uids == [second.uid]))
    assert answers == [(True, 0, False), (False, 1, True)]


def test_counts_each_wrong_answer_once() -> None:
    """clear_young forgets, also when it answered wrongly."""
    stage = Stage()
    stage.read(0, 1)
    for _ in range(2):
        stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
        stage.read(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert stage.judge.accesses.false_negatives == 2


def test_a_test_does_not_forget() -> None:
    stage = Stage()
    stage.read(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    stage.read(0, 1)
    for _ in range(2):
        stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1))
    assert stage.judge.accesses.false_negatives == 2


@pytest.mark.reaches("unreported-young")
@pytest.mark.parametrize("paging", ["ept-ad", "ept-noad"])
def test_rejects_old_for_a_page_whose_spte_was_accessed(paging: str) -> None:
    stage = Stage(paging=paging)
    stage.read(0, 1)
    stage.judge.aged(stage.m, 2, 3, False, False)
    assert stage.violations == []
    stage.judge.aged(stage.m, 1, 2, False, False)
    assert stage.violations == ["unreported-young"]


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_false_negative_is_no_violation() -> None:
    stage = Stage()
    stage.read(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    stage.read(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert stage.judge.accesses.false_negatives == 1
    assert stage.violations == []


@BOTH
def test_legal_young_for_the_neighbours_under_a_huge_page(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.read(0, 1)
    assert stage.level(2) == 2
    assert stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 2, 3)).young
    assert stage.judge.accesses.false_negatives == 0
