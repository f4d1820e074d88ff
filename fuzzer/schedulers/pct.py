# SPDX-License-Identifier: GPL-2.0-only
"""Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010).

Random priorities, the highest runnable actor runs; at d - 1 random turns its priority drops below all others.  Finds
a bug of depth d in n actors and k turns with probability >= 1 / (n * k**(d-1)).  Two things differ from the paper: d
is drawn per run from 2..8, since nobody knows the depth, and an actor that retries a fault is demoted, else a vCPU
that spins on a FROZEN entry or an INVALID memslot would starve whoever it waits for.
"""

from __future__ import annotations

from fuzzer.execute import Execution
from fuzzer.rng import Rng
from reference_mmu.points import FAULT_RETRY

_TURNS = 160  # k: a typical program's length; change points beyond the end are simply not reached


class Pct:
    """Priorities are all distinct: initial ones >= d, demotions below, each new one below the last."""

    def __init__(self, seed: int, actors: int) -> None:
        rng = Rng(seed)
        depth = 2 + rng.below(7)
        self.priority = [depth + a for a in range(actors)]
        for a in range(actors - 1, 0, -1):
            b = rng.below(a + 1)
            self.priority[a], self.priority[b] = self.priority[b], self.priority[a]
        self.change_turns = {int(rng.below(_TURNS)) for _ in range(depth - 1)}
        self.turn = 0
        self.lowest = 0

    def pick(self, runnable: list[int], execution: Execution) -> int:
        actor = self.highest(runnable)
        if self.turn in self.change_turns or execution.at[actor] == FAULT_RETRY:
            self.lowest -= 1
            self.priority[actor] = self.lowest
            actor = self.highest(runnable)
        self.turn += 1
        return actor

    def highest(self, runnable: list[int]) -> int:
        best = runnable[0]
        for actor in runnable:
            if self.priority[actor] > self.priority[best]:
                best = actor
        return best
