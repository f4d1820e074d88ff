# SPDX-License-Identifier: GPL-2.0-only
"""What the oracles of one run report, and when."""

from __future__ import annotations

from typing import Literal

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.invariants import Invariant

# Effects that one model shows by itself; the others take two to be seen.
Fact = Literal["young-false-negative", "huge-before-flush"]


@mypyc_attr(acyclic=True)
class Violation:
    """The first time an invariant broke: in which operation, where that actor last stood, and where the actor stood
    that ran before it (the other half of the race). `detail`: what the model itself said, if it was the one to find
    out."""

    def __init__(self, invariant: str, uid: int, point: int, other_point: int, step: int, detail: str) -> None:
        self.invariant = invariant
        self.uid = uid
        self.point = point
        self.other_point = other_point
        self.step = step
        self.detail = detail


@mypyc_attr(acyclic=True)
class Reports:
    """`facts`: effect -> uid of the first operation that showed it; legal, but worth saying.

    `here`: where the running actor last stood. `there`: where the one stood that ran before it; actor 0 counts as
    having stood between two operations before anybody ran. -1 while only actor 0 has run.
    """

    def __init__(self) -> None:
        self.violations: dict[str, Violation] = {}
        self.facts: dict[Fact, int] = {}
        self.actor: i64 = 0
        self.uid: i64 = 0
        self.turns: i64 = 0
        self.here: i64 = 0
        self.there: i64 = -1

    def begin_turn(self, actor: i64, uid: i64, at: i64) -> None:
        """`actor`, which stands at point `at`, is about to run operation `uid` to its next point."""
        self.turns += 1
        self.uid = uid
        if actor != self.actor:
            self.actor = actor
            self.there = self.here
            self.here = at

    def report(self, invariant: Invariant, detail: str = "") -> None:
        """An invariant broke now; only the first time counts."""
        if invariant not in self.violations:
            here = int(self.here)
            there = int(self.there) if self.there >= 0 else here
            self.violations[invariant] = Violation(invariant, int(self.uid), here, there, int(self.turns), detail)

    def note(self, effect: Fact) -> None:
        """A legal but remarkable thing happened, seen in this model alone."""
        if effect not in self.facts:
            self.facts[effect] = int(self.uid)
