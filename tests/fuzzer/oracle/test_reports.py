# SPDX-License-Identifier: GPL-2.0-only
"""What is reported: the first time only, with the operation, the turn, and where both halves of a race stood."""

import pytest

from fuzzer.oracle.invariants import Invariant
from fuzzer.oracle.reports import Reports
from reference_mmu.points import AGE_LOCK, END, FAULT_ENTER
from reference_mmu.x86.points import FAULT_PFN, WALK_LEAF


def reported(reports: Reports, invariant: Invariant = "stale-read") -> tuple[int, int, int, int]:
    """uid, turn, where the actor stood, where the one before it stood."""
    reports.report(invariant)
    found = reports.violations[invariant]
    return found.uid, found.step, found.point, found.other_point


def turn(reports: Reports, actor: int, uid: int, at: int, to: int) -> None:
    """The actor runs from one point to another."""
    reports.begin_turn(actor, uid, at)
    reports.here = to


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([(0, 3, END, FAULT_PFN)], (1, 7, AGE_LOCK), (7, 2, AGE_LOCK, FAULT_PFN)),
        (
            [(2, 3, END, FAULT_PFN), (0, 4, END, FAULT_ENTER), (1, 7, END, WALK_LEAF), (1, 7, END, AGE_LOCK)],
            (1, 7, AGE_LOCK),
            (7, 5, AGE_LOCK, FAULT_ENTER),
        ),
        ([(0, 3, FAULT_PFN, END)], (1, 7, WALK_LEAF), (7, 2, WALK_LEAF, END)),
        ([(0, 3, END, FAULT_PFN)], (0, 3, FAULT_PFN), (3, 2, FAULT_PFN, FAULT_PFN)),
    ],
    ids=["in between", "however many turns it has taken since", "at the end of an operation", "nobody else has run"],
)
def test_a_violation_names_both_halves_of_a_race(
    before: list[tuple[int, int, int, int]], now: tuple[int, int, int], expected: tuple[int, int, int, int]
) -> None:
    reports = Reports()
    for each in before:
        turn(reports, *each)
    reports.begin_turn(*now)
    assert reported(reports) == expected


def test_only_the_first_time_counts() -> None:
    reports = Reports()
    reports.begin_turn(0, 3, END)
    reports.report("warn", "the first")
    reports.note("huge-before-flush")
    reports.begin_turn(1, 7, END)
    reports.report("warn", "the second")
    reports.report("bug")
    reports.note("huge-before-flush")
    reports.note("young-false-negative")
    assert {name: (v.invariant, v.uid, v.detail) for name, v in reports.violations.items()} == {
        "warn": ("warn", 3, "the first"),
        "bug": ("bug", 7, ""),
    }
    assert reports.facts == {"huge-before-flush": 3, "young-false-negative": 7}
