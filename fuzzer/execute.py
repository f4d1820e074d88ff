# SPDX-License-Identifier: GPL-2.0-only
"""One machine and the program that runs on it, one preemption point at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.ops import RESCHEDULED, Operation
from fuzzer.oracle.judge import Judge
from fuzzer.program import Program
from reference_mmu.machine import Machine
from reference_mmu.points import FAULT_ENTER, FAULT_RETRY, PRIVATE
from reference_mmu.semantics import Semantics

Flow = Generator[int, None, object]
StartOperation = Callable[[Machine, int, Operation], Flow]
MakeMachine = Callable[..., Machine]

END: Final = 0  # what step() returns when the operation ended


class Model:
    """A copy of reference_mmu to run on: the shipped one, or one with a user's change applied."""

    def __init__(
        self, make_machine: MakeMachine, make_semantics: Callable[[frozenset[str]], Semantics], start: StartOperation
    ) -> None:
        self.make_machine = make_machine
        self.make_semantics = make_semantics
        self.start = start


class Execution:
    """A machine in the middle of a program.

    `at[a]`: the point actor a stands at, END between operations. Its position is (place[a], faults[a], lap[a], at[a]):
    the number of the operation, the page faults it has taken so far, how often since then the flow went back to an
    earlier point, and the rank of the point. Faults count apart: a walk that is repeated because a flush threw the
    vCPU out of the guest must not look like one that is repeated after a fault.
    """

    def __init__(self, program: Program, semantics: Semantics, model: Model) -> None:
        self.model = model
        self.semantics = semantics
        self.ops: list[list[Operation]] = [list(actor.ops) for actor in program.actors]
        n = len(self.ops)
        self.n: i64 = n
        self.judge = Judge(n)
        self.m = model.make_machine(program.config, semantics, n, program.uid_limit(), self.judge)
        self.flows: list[Flow | None] = [None] * n
        self.at: vec[i64] = vec[i64]([0] * n)
        self.place: vec[i64] = vec[i64]([0] * n)
        self.faults: vec[i64] = vec[i64]([0] * n)
        self.ended_faults: vec[i64] = vec[i64]([0] * n)  # of the operation that each actor ended last
        self.lap: vec[i64] = vec[i64]([0] * n)
        self.resched: vec[i64] = vec[i64]([0] * n)
        # uid of the operation that each actor is in, or will start next; -1: it has finished.
        self.uids: vec[i64] = vec[i64]([ops[0].uid if ops else -1 for ops in self.ops])
        self.live: list[int] = [a for a in range(n) if self.ops[a]]
        self.steps: i64 = 0
        self.judge.watch(self.at)

    def can_run(self, actor: i64) -> bool:
        return self.m.can_run(actor, self.at[actor])

    def runnable(self) -> list[int]:
        """Actors with something left to do that do not wait for a lock."""
        m = self.m
        at = self.at
        return [a for a in self.live if m.can_run(a, at[a])]

    def step(self, actor: int) -> int:
        """Run `actor` to its next point and return it, END if its operation ended."""
        m = self.m
        a: i64 = actor
        m.actor = a
        m.uid = self.uids[a]
        flow = self.flows[actor]
        if flow is None:
            op = self.ops[actor][self.place[a]]
            # Not getattr() with a default: where there is none, raising and forgetting AttributeError costs a flow.
            self.resched[a] = getattr(op, "resched") if type(op) in RESCHEDULED else 0  # noqa: B009
            m.resched = self.resched[a]
            flow = self.model.start(m, actor, op)
            self.flows[actor] = flow
        else:
            m.resched = self.resched[a]
        self.steps += 1
        self.judge.turn_of(a)
        for point in flow:
            self.resched[a] = m.resched
            if point == FAULT_ENTER:
                self.faults[a] += 1
                self.lap[a] = 0
            elif point <= self.at[a]:
                self.lap[a] += 1
            self.at[a] = point
            return point
        self.flows[actor] = None
        self.at[a] = END
        self.ended_faults[a] = self.faults[a]
        self.faults[a] = 0
        self.lap[a] = 0
        self.place[a] += 1
        if self.place[a] == len(self.ops[actor]):
            self.uids[a] = -1
            self.live.remove(actor)
        else:
            self.uids[a] = self.ops[actor][self.place[a]].uid
        return END

    def uid_of(self, actor: i64) -> i64:
        """The uid of the operation actor is in, or will start next; -1 if it has finished."""
        return self.uids[actor]

    def is_live(self, actor: i64) -> bool:
        """Has it something left to do? The same as `in live`, without a search."""
        return self.uids[actor] >= 0

    def give_up(self) -> None:
        """Nobody runs any more."""
        self.live.clear()
        for actor in range(self.n):
            self.uids[actor] = -1

    def drain(self, max_steps: i64) -> bool:
        """Run everybody to the end in turn, each until it ends an operation, waits, or retries. False: stuck."""
        while self.live:
            progressed = False
            for actor in list(self.live):
                while self.can_run(actor):
                    if self.steps >= max_steps:
                        return False
                    progressed = True
                    point = self.step(actor)
                    if point in (END, FAULT_RETRY):
                        break
            if not progressed:
                return False
        return True


def private_points(here: Semantics, there: Semantics) -> frozenset[int]:
    """Points that can exist under `here` and cannot under `there`."""
    private = []
    for point, (patch, with_patch) in PRIVATE.items():
        if (patch in here.patches) == with_patch and (patch in there.patches) != with_patch:
            private.append(point)
    return frozenset(private)
