# SPDX-License-Identifier: GPL-2.0-only
"""What came out of a program under one interleaving."""

from __future__ import annotations

from fuzzer.oracle.reports import Violation
from fuzzer.run.compared import Compared
from fuzzer.run.differential import divergences
from fuzzer.run.divergence import Divergence
from fuzzer.run.lockstep import Pair
from fuzzer.run.side import Side
from fuzzer.schedule.schedule import Turn


class Outcome:
    """A finished pair, seen as old and new. `divergences`: what the two did differently."""

    def __init__(self, comparison: Compared, pair: Pair, old_leads: bool) -> None:
        self.comparison = comparison
        self.pair = pair
        self.old, self.new = (pair.leader, pair.follower) if old_leads else (pair.follower, pair.leader)
        self.steps = int(pair.leader.steps + pair.follower.steps)
        self.divergences: list[Divergence] = divergences(pair, old_leads)
        self.written: list[Turn] | None = None

    @property
    def turns(self) -> list[Turn]:
        """What the leader did, as a schedule."""
        if self.written is None:
            self.written = self.pair.turns.written()
        return self.written

    def violations(self, side: Side) -> dict[str, Violation]:
        """The invariants that a side broke."""
        return self.old.judge.violations if side == "old" else self.new.judge.violations
