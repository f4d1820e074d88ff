# SPDX-License-Identifier: GPL-2.0-only
"""One machine and the program that runs on it, one preemption point at a time."""

from __future__ import annotations

from functools import lru_cache

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.judge import Judge
from fuzzer.program.script import Script
from fuzzer.run.model import Model
from fuzzer.schedule.running_actor import END, RunningActor
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.x86.points import FAULT_RETRY, N_POINTS, PRIVATE


class Execution:
    """A machine in the middle of a program. `n_live`: how many actors have not finished. `ready`: the first `n_ready`
    are those that can run, ascending, as of the last find_ready()."""

    def __init__(self, script: Script, semantics: Semantics, model: Model) -> None:
        self.model = model
        self.semantics = semantics
        self.actors = [RunningActor(number, calls) for number, calls in enumerate(script.calls)]
        self.judge = Judge()
        self.reports = self.judge.reports
        self.m = model.machine(script.config, semantics, len(self.actors), script.uid_limit, self.judge)
        self.steps: i64 = 0
        self.n_live: i64 = len(self.live())
        self.ready: vec[i64] = vec[i64]([0] * len(self.actors))
        self.n_ready: i64 = 0

    # --- who can run ----------------------------------------------------------------------------------------

    def can_run(self, running: RunningActor) -> bool:
        """Has it something left to do, and waits for nothing?"""
        return running.uid >= 0 and (running.wants == 0 or self.m.can_run(running.number, running.wants))

    def find_ready(self) -> i64:
        """Find those that can run; returns how many."""
        found: i64 = 0
        for running in self.actors:
            if self.can_run(running):
                self.ready[found] = running.number
                found += 1
        self.n_ready = found
        return found

    def is_ready(self, actor: i64) -> bool:
        """Is the actor among those that the last find_ready() found?"""
        return any(self.ready[place] == actor for place in range(self.n_ready))

    def runnable(self) -> list[int]:
        """The actors that can run, as a list."""
        return [int(self.ready[place]) for place in range(self.find_ready())]

    def live(self) -> list[int]:
        """Actors with something left to do."""
        return [int(running.number) for running in self.actors if running.uid >= 0]

    # --- running --------------------------------------------------------------------------------------------

    def step(self, running: RunningActor) -> i64:
        """Run an actor to its next point and return it, END if its operation ended."""
        m = self.m
        m.actor = running.number
        m.uid = running.uid
        if running.flow is None:
            call = running.calls[running.place]
            running.resched = call.resched
            running.flow = self.model.start(m, running.number, call)
        m.resched = running.resched
        self.steps += 1
        self.reports.begin_turn(running.number, running.uid, running.at)
        for point in running.flow:
            running.resched = m.resched
            running.come_to(point)
            running.wants = m.wants(running.at)
            self.reports.here = running.at
            return running.at
        running.end_operation()
        self.reports.here = END
        if running.uid < 0:
            self.n_live -= 1
        return END

    def give_up(self) -> None:
        """Nobody runs any more."""
        self.n_live = 0
        for running in self.actors:
            running.give_up()

    def drain(self, max_steps: i64) -> bool:
        """Run everybody to the end in turn, each until it ends an operation, waits, or retries. False: stuck."""
        while self.n_live != 0:
            progressed = False
            for running in self.actors:
                while self.can_run(running):
                    if self.steps >= max_steps:
                        return False
                    progressed = True
                    if self.step(running) in (END, FAULT_RETRY):
                        break
            if not progressed:
                return False
        return True


@mypyc_attr(acyclic=True)
class PrivatePoints:
    """Points that can exist under `here` and cannot under `there`."""

    def __init__(self, here: Semantics, there: Semantics) -> None:
        self.flags: vec[i64] = vec[i64]([0] * N_POINTS)
        for point, (patch, with_patch) in PRIVATE.items():
            if (patch in here.patches) == with_patch and (patch in there.patches) != with_patch:
                self.flags[point] = 1

    def has(self, point: i64) -> bool:
        """Is this one of them?"""
        return self.flags[point] != 0


@lru_cache(maxsize=256)
def private_points(here: Semantics, there: Semantics) -> PrivatePoints:
    """The private points of a pair of semantics, made once for each pair."""
    return PrivatePoints(here, there)
