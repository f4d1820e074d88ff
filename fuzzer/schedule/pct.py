# SPDX-License-Identifier: GPL-2.0-only
"""Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010).

Random priorities, the highest runnable actor runs; at d - 1 random turns its priority drops below all others.  Finds
a bug of depth d in n actors and k turns with probability >= 1 / (n * k**(d-1)).  Two things differ from the paper: d
is drawn per run from 2..8, since nobody knows the depth, and an actor that retries a fault is demoted, else a vCPU
that spins on a FROZEN entry or an INVALID memslot would starve whoever it waits for.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.program.rng import Rng
from fuzzer.schedule.choices import Choices
from fuzzer.schedule.scheduler import Scheduler
from reference_mmu.points import FAULT_RETRY

_TURNS: Final = 160  # k: a typical program's length; change points beyond the end are simply not reached


class Pct(Scheduler):
    """Priorities are all distinct: initial ones >= d, demotions below, each new one below the last."""

    def __init__(self, seed: i64, actors: i64) -> None:
        rng = Rng(seed)
        depth = 2 + rng.below(7)
        self.priority: vec[i64] = vec[i64]([0] * actors)
        for a in range(actors):
            self.priority[a] = depth + a
        for b in range(actors - 1):
            last = actors - 1 - b
            other = rng.below(last + 1)
            was = self.priority[last]
            self.priority[last] = self.priority[other]
            self.priority[other] = was
        self.changes: vec[i64] = vec[i64]([0] * _TURNS)
        for _ in range(depth - 1):
            self.changes[rng.below(_TURNS)] = 1
        self.turn: i64 = 0
        self.lowest: i64 = 0

    def pick(self, choices: Choices) -> i64:
        actor = self.highest(choices)
        if (self.turn < _TURNS and self.changes[self.turn] != 0) or choices.actors[actor].at == FAULT_RETRY:
            self.lowest -= 1
            self.priority[actor] = self.lowest
            actor = self.highest(choices)
        self.turn += 1
        return actor

    def highest(self, choices: Choices) -> i64:
        best = choices.ready[0]
        for k in range(choices.n_ready):
            actor = choices.ready[k]
            if self.priority[actor] > self.priority[best]:
                best = actor
        return best
