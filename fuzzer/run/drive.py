# SPDX-License-Identifier: GPL-2.0-only
"""How an interleaving is chosen: a drive runs a fresh Pair by a scheduler, or along one that is known."""

from __future__ import annotations

from collections.abc import Callable

from fuzzer.program.rng import stream
from fuzzer.run.lockstep import Pair
from fuzzer.run.side import Side
from fuzzer.schedule.schedule import Switch, Turn
from fuzzer.schedule.schedulers import STRATEGIES, draw_strategy, make_scheduler

Drive = Callable[[Pair], None]


def by_scheduler(strategy: str, seed: int) -> Drive:
    """The leader is scheduled by a named strategy."""
    return lambda pair: pair.run(make_scheduler(strategy, seed, len(pair.script.calls)))


def by_seed(seed: int, strategies: tuple[str, ...] = STRATEGIES) -> Drive:
    """The interleaving that a search gives to the program of `seed`: one of the strategies, drawn and seeded by it."""
    return by_scheduler(draw_strategy(seed, strategies), stream(seed, "schedule"))


def leader_of(seed: int) -> Side:
    """Who leads the program of a seed: programs take turns, so that windows of either model are explored."""
    return "new" if seed % 2 else "old"


def by_turns(turns: list[Turn]) -> Drive:
    return lambda pair: pair.replay_turns(turns)


def by_switches(switches: tuple[Switch, ...]) -> Drive:
    return lambda pair: pair.replay_switches(switches)


def turn_by_turn(turns: list[Turn]) -> Drive:
    """Exactly the recorded run, as a drive; by_turns() is for edited ones and cuts short an actor that retries and
    retries."""

    def drive(pair: Pair) -> None:
        for turn in turns:
            if turn.actor not in pair.leader.runnable() or not pair.guarded_turn(turn.actor):
                break
        pair.finish()

    return drive
