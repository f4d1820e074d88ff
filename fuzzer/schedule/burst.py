# SPDX-License-Identifier: GPL-2.0-only
"""Long uninterrupted runs with few switches: most windows need one or two preemptions at the right point, and a
random walk rarely lets another CPU finish a whole operation inside one.

Every other run switches only where an actor is about to take a lock, or to wait for something else: what goes wrong
between two critical sections needs no switch inside one (Musuvathi and Qadeer, PLDI 2007).  And where a long walk has
given up mmu_lock, which it does for the sake of others, most of them end the operation they are in.
"""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.program.rng import Rng
from fuzzer.schedule.choices import Choices
from fuzzer.schedule.scheduler import Scheduler
from reference_mmu.points import END, FAULT_RETRY


class Burst(Scheduler):
    """Keeps the running actor with probability 1 - 1/period; the period is drawn once, 3 to 34 turns, or 2 to 9 waits
    for a lock. `visitors` run next, each until its operation ends or waits."""

    def __init__(self, seed: i64) -> None:
        self.rng = Rng(seed)
        self.at_locks = self.rng.chance(1, 2)
        self.period = 2 + self.rng.below(8) if self.at_locks else 3 + self.rng.below(32)
        self.running: i64 = -1
        self.visiting = False
        self.visitors: list[int] = []

    def pick(self, choices: Choices) -> i64:
        if choices.is_ready(self.running):
            point = choices.actors[self.running].at
            if choices.points.breaks[point] != 0:
                self.visitors = [
                    int(choices.ready[k])
                    for k in range(choices.n_ready)
                    if choices.ready[k] != self.running and self.rng.chance(3, 4)
                ]
            elif self.goes_on(choices, point):
                return self.running
        self.running = self.next_of(choices)
        return self.running

    def goes_on(self, choices: Choices, point: i64) -> bool:
        if point == FAULT_RETRY:  # what it waits for may be the visited one's to do
            return self.visiting and self.rng.chance(1, 2)
        if self.visiting:
            return point != END
        return (self.at_locks and choices.points.wants[point] == 0) or self.rng.below(self.period) != 0

    def next_of(self, choices: Choices) -> i64:
        while self.visitors:
            actor = self.visitors.pop(self.rng.below(len(self.visitors)))
            if choices.is_ready(actor):
                self.visiting = True
                return actor
        self.visiting = False
        return choices.ready[self.rng.below(choices.n_ready)]
