# SPDX-License-Identifier: GPL-2.0-only
"""A comparison: two semantics, who leads, and how the interleaving is chosen; and what came out of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fuzzer.program.program import Program
from fuzzer.program.script import Script, script_of
from fuzzer.run.compared import Compared, Models, Side
from fuzzer.run.lockstep import Pair
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Switch, Turn
from fuzzer.schedule.schedulers import STRATEGIES, draw_strategy, make_scheduler

__all__ = [
    "Comparison",
    "Drive",
    "Models",
    "Outcome",
    "Side",
    "by_scheduler",
    "by_seed",
    "by_switches",
    "by_turns",
    "leader_of",
]

_SCHEDULER_STREAM: Final = 0x9E3779B1
"""Keeps the numbers that a scheduler draws for a seed apart from those that the generator draws for it."""

Drive = Callable[[Pair], None]


class Comparison(Compared, frozen=True):
    """What is compared, and how it is done."""

    def run(self, program: Program, drive: Drive) -> Outcome:
        """Run both in lockstep under the interleaving that `drive` makes of a fresh Pair."""
        return self.run_script(script_of(program), drive)

    def run_script(self, script: Script, drive: Drive) -> Outcome:
        """Run a program that is not written down; see run()."""
        models = (self.models.old, self.models.new)
        if self.leader == "old":
            pair = Pair(script, self.old, self.new, models)
        else:
            pair = Pair(script, self.new, self.old, (models[1], models[0]))
        drive(pair)
        return Outcome(self, pair, self.leader == "old")


def by_scheduler(strategy: str, seed: int) -> Drive:
    """The leader is scheduled by a named strategy."""
    return lambda pair: pair.run(make_scheduler(strategy, seed, len(pair.script.calls)))


def by_seed(seed: int, strategies: tuple[str, ...] = STRATEGIES) -> Drive:
    """The interleaving that a search gives to the program of `seed`: one of the strategies, drawn and seeded by it."""
    return by_scheduler(draw_strategy(seed, strategies), seed ^ _SCHEDULER_STREAM)


def leader_of(seed: int) -> Side:
    """Who leads the program of a seed: programs take turns, so that windows of either model are explored."""
    return "new" if seed % 2 else "old"


def by_turns(turns: list[Turn]) -> Drive:
    return lambda pair: pair.replay_turns(turns)


def by_switches(switches: tuple[Switch, ...]) -> Drive:
    return lambda pair: pair.replay_switches(switches)
