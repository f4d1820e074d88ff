# SPDX-License-Identifier: GPL-2.0-only
"""Long uninterrupted runs with few switches: most windows need one or two preemptions at the right point, and a
random walk rarely lets another CPU finish a whole operation inside one.

Every other run switches only where an actor is about to take a lock, or to wait for something else: what goes wrong
between two critical sections needs no switch inside one (Musuvathi and Qadeer, PLDI 2007).  And where a long walk has
given up mmu_lock, which it does for the sake of others, most of them end the operation they are in.
"""

from __future__ import annotations

from fuzzer.execute import END, Execution
from fuzzer.rng import Rng
from reference_mmu.points import BREAKS, FAULT_RETRY, WANTS


class Burst:
    """Keeps the running actor with probability 1 - 1/period; the period is drawn once, 3 to 34 turns, or 2 to 9 waits
    for a lock. `visitors` run next, each until its operation ends or waits."""

    def __init__(self, seed: int) -> None:
        self.rng = Rng(seed)
        self.at_locks = self.rng.chance(1, 2)
        self.period = 2 + self.rng.below(8) if self.at_locks else 3 + self.rng.below(32)
        self.running = -1
        self.visiting = False
        self.visitors: list[int] = []

    def pick(self, runnable: list[int], execution: Execution) -> int:
        if self.running in runnable:
            point = execution.at[self.running]
            if point in BREAKS:
                self.visitors = [actor for actor in runnable if actor != self.running and self.rng.chance(3, 4)]
            elif self.goes_on(int(point)):
                return self.running
        self.running = self.next_of(runnable)
        return self.running

    def goes_on(self, point: int) -> bool:
        if point == FAULT_RETRY:  # what it waits for may be the visited one's to do
            return self.visiting and self.rng.chance(1, 2)
        if self.visiting:
            return point != END
        return (self.at_locks and WANTS[point] == 0) or self.rng.below(self.period) != 0

    def next_of(self, runnable: list[int]) -> int:
        while self.visitors:
            actor = self.visitors.pop(self.rng.below(len(self.visitors)))
            if actor in runnable:
                self.visiting = True
                return actor
        self.visiting = False
        return runnable[self.rng.below(len(runnable))]
