# SPDX-License-Identifier: GPL-2.0-only
"""A comparison: two semantics, who leads, and how the interleaving is chosen; and what came out of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from fuzzer.differential import divergences
from fuzzer.divergence import Divergence
from fuzzer.execute import Model
from fuzzer.flows import SHIPPED
from fuzzer.lockstep import Pair
from fuzzer.oracle.judge import Violation
from fuzzer.program import Program
from fuzzer.schedule import Switch, Turn
from fuzzer.schedulers import make_scheduler
from reference_mmu.semantics import Semantics

Side = Literal["old", "new"]
Drive = Callable[[Pair], None]


class Models(msgspec.Struct, frozen=True):
    """The copies of the model that the two sides run on; they differ when a user's change is tried: `diff`, which new
    has and old has not, else empty; `allowed`, the effects that the user says it may have."""

    old: Model = SHIPPED
    new: Model = SHIPPED
    diff: str = ""
    allowed: frozenset[str] = frozenset()


class Comparison(msgspec.Struct, frozen=True):
    """What is compared: `old` against `new`, one of them leading."""

    old: Semantics
    new: Semantics
    leader: Side
    models: Models = Models()

    def run(self, program: Program, drive: Drive) -> Outcome:
        """Run both in lockstep under the interleaving that `drive` makes of a fresh Pair."""
        models = (self.models.old, self.models.new)
        if self.leader == "old":
            pair = Pair(program, self.old, self.new, models)
        else:
            pair = Pair(program, self.new, self.old, (models[1], models[0]))
        drive(pair)
        return Outcome(self, pair)


class Outcome:
    """A finished pair, seen as old and new."""

    def __init__(self, comparison: Comparison, pair: Pair) -> None:
        old_leads = comparison.leader == "old"
        self.comparison = comparison
        self.pair = pair
        self.old, self.new = (pair.leader, pair.follower) if old_leads else (pair.follower, pair.leader)
        self.turns: list[Turn] = pair.turns
        self.steps = int(pair.leader.steps + pair.follower.steps)
        self.divergences: list[Divergence] = divergences(pair, old_leads)

    def violations(self, side: Side) -> dict[str, Violation]:
        return self.old.judge.violations if side == "old" else self.new.judge.violations


def by_scheduler(strategy: str, seed: int) -> Drive:
    """The leader is scheduled by a named strategy."""
    return lambda pair: pair.run(make_scheduler(strategy, seed, int(pair.leader.n)))


def by_turns(turns: list[Turn]) -> Drive:
    return lambda pair: pair.replay_turns(turns)


def by_switches(switches: tuple[Switch, ...]) -> Drive:
    return lambda pair: pair.replay_switches(switches)
