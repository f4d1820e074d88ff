# SPDX-License-Identifier: GPL-2.0-only
"""Where a bug became inevitable: how likely it is when the schedule is kept up to a step and left to chance from there.

A walk is an execution that takes the first steps of a reproducer's leader as recorded and then lets a coin choose among
those that can run.  Its seed comes from the reproducer, so the same file gives the same numbers everywhere.
"""

from __future__ import annotations

import hashlib
from math import sqrt
from typing import Final

import msgspec

from fuzzer.judge.shows import shows
from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Comparison, Drive
from fuzzer.run.lockstep import Pair
from fuzzer.schedule.random_walk import RandomWalk
from fuzzer.schedule.schedule import Turn
from reference_mmu.record import Record

_NORMAL_QUANTILE: Final = 1.96
"""Quantile of the normal distribution for a two-sided interval of 95 %."""
_SEED_BYTES: Final = 7  # leaves an i64 room for the number of the walk


class Chance(Record):
    """How many of `walks` random continuations after the first `step` turns showed the finding; the share that they
    are an estimate of lies between `low` and `high` with 95 % confidence."""

    step: int
    shown: int
    walks: int
    low: float
    high: float

    def share(self) -> float:
        return self.shown / self.walks


class Chances(Record):
    """A reproducer left to chance from its steps on. `steps`: turns of its leader; `inevitable`: the first step after
    which every walk showed the finding, here and from all later steps, -1 if there is none."""

    steps: int
    inevitable: int
    chances: tuple[Chance, ...]


def chances(reproducer: Reproducer, walks: int, steps_max: int) -> Chances:
    """The chance from the start, after each turn, and after the last; of a schedule that is longer than `steps_max`
    from evenly spread turns.  Raises ReproducerError."""
    comparison = reproducer.comparison()
    turns = reproducer.run(comparison.models).turns
    seed = _seed_of(reproducer)
    told = []
    for number, step in enumerate(_spread(len(turns), steps_max)):
        drives = (_walk(turns[:step], seed + number * walks + walk) for walk in range(walks))
        shown = sum(_shows(reproducer, comparison, drive) for drive in drives)
        told.append(Chance(step, shown, walks, *wilson(shown, walks)))
    uncertain = [index for index, chance in enumerate(told) if chance.shown < chance.walks]
    first = uncertain[-1] + 1 if uncertain else 0
    return Chances(len(turns), told[first].step if first < len(told) else -1, tuple(told))


def wilson(shown: int, walks: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927): sound at 0 and 1, too."""
    z2 = _NORMAL_QUANTILE**2
    share = shown / walks
    middle = share + z2 / (2 * walks)
    reach = _NORMAL_QUANTILE * sqrt(share * (1 - share) / walks + z2 / (4 * walks**2))
    low, high = (middle - reach) / (1 + z2 / walks), (middle + reach) / (1 + z2 / walks)
    return round(max(0.0, low), 4), round(min(1.0, high), 4)


def _spread(turns: int, steps_max: int) -> list[int]:
    """Numbers of turns to keep, none and all among them."""
    points = min(turns + 1, max(2, steps_max))
    return [round(index * turns / (points - 1)) for index in range(points)] if points > 1 else [0]


def _walk(turns: list[Turn], seed: int) -> Drive:
    def drive(pair: Pair) -> None:
        for turn in turns:
            pair.guarded_turn(turn.actor)
        pair.run(RandomWalk(seed))

    return drive


def _shows(reproducer: Reproducer, comparison: Comparison, drive: Drive) -> bool:
    return shows(reproducer.finding, comparison.run(reproducer.program, drive))


def _seed_of(reproducer: Reproducer) -> int:
    """A seed that follows from what is run, not from what is said about it: the recorded digest changes with the
    model."""
    told = msgspec.json.encode((reproducer.program, reproducer.switches, reproducer.leader))
    return int.from_bytes(hashlib.sha256(told).digest()[:_SEED_BYTES], "big")
