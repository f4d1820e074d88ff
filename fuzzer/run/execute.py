# SPDX-License-Identifier: GPL-2.0-only
"""One machine and the program that runs on it, one preemption point at a time."""

from __future__ import annotations

from functools import lru_cache

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from fuzzer.program.script import Script
from fuzzer.run.model import SHIPPED, Model
from fuzzer.schedule.choices import Choices
from fuzzer.schedule.running_actor import RunningActor
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.points import END, FAULT_RETRY, N_POINTS, PointTable


class Execution(Choices):
    """A machine in the middle of a program."""

    def __init__(self, script: Script, semantics: Semantics, model: Model) -> None:
        self.model = model
        self.shipped = model is SHIPPED  # then there is nothing to enter and no flow to guard: steps are faster
        self.semantics = semantics
        self.judge = model.judge(script.config)
        self.reports = self.judge.reports
        self.m = model.machine(script.config, semantics, len(script.calls), script.uid_limit, self.judge)
        points = self.m.points
        super().__init__([RunningActor(number, calls, points) for number, calls in enumerate(script.calls)], points)
        self.steps: i64 = 0

    def find_ready(self) -> i64:
        found: i64 = 0
        for running in self.actors:
            if self.can_run(running):
                self.ready[found] = running.number
                found += 1
        self.n_ready = found
        return found

    def can_run(self, running: RunningActor) -> bool:
        """Has it something left to do, and waits for nothing?"""
        if running.uid < 0 or running.wants == 0:
            return running.uid >= 0
        if not self.shipped:
            self.model.enter()
        return self.m.can_run(running.number, running.wants)

    # --- running --------------------------------------------------------------------------------------------

    def step(self, running: RunningActor) -> i64:
        """Run an actor to its next point and return it, END if its operation ended."""
        m = self.m
        if not self.shipped:
            self.model.enter()
        m.actor = running.number
        m.uid = running.uid
        if running.flow is None:
            call = running.calls[running.place]
            running.resched = call.resched
            running.mishaps = call.mishaps
            running.flow = self.model.start(m, running.number, call)
        m.resched = running.resched
        m.mishaps = running.mishaps
        self.steps += 1
        self.reports.begin_turn(running.number, running.uid, running.at)
        point: i64 = END
        if self.shipped:
            for reached in running.flow:
                point = reached
                break
        else:
            point = self.model.resume(m, running.flow)
        self.reports.here = point
        if point != END:
            running.resched = m.resched
            running.come_to(point)
        else:
            running.end_operation()
            if running.uid < 0:
                self.n_live -= 1
        return point

    def finish(self) -> None:
        """Everybody is done: judge what is left."""
        self.model.enter()
        self.judge.finish(self.m)

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

    def __init__(self, points: PointTable, here: Semantics, there: Semantics) -> None:
        self.flags: vec[i64] = vec[i64]([0] * N_POINTS)
        for point in points.points:
            if point.patch and point.exists(here.patches) and not point.exists(there.patches):
                self.flags[point.number] = 1

    def has(self, point: i64) -> bool:
        """Is this one of them?"""
        return self.flags[point] != 0


@lru_cache(maxsize=256)
def private_points(points: PointTable, here: Semantics, there: Semantics) -> PrivatePoints:
    """The private points of a pair of semantics, made once for each pair."""
    return PrivatePoints(points, here, there)
