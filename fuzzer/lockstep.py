# SPDX-License-Identifier: GPL-2.0-only
"""The same program under the same interleaving on two models that take different numbers of steps.

One model *leads*: a scheduler picks among its runnable actors at every one of its points.  After each turn the same
actor of the *follower* advances to its first point at or beyond the leader's position (operation, faults, lap, rank),
never past the operation; if it is beyond already it stands still.  When the leader's operation ends, the follower runs
that operation to its end, stopping when blocked or at a retry; the rest is a debt paid at that actor's next turn.

*Drift* is the first turn after which the two positions disagree although the point is not private to the pair.  From
then on the two runs are different interleavings and raw results say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mypy_extensions import i64

from fuzzer.execute import END, Execution, Model, private_points
from fuzzer.program import Program
from fuzzer.schedule import Scheduler, Switch, Turn
from reference_mmu.locks import ModelBug
from reference_mmu.machine import OP_COUNTERS
from reference_mmu.points import FAULT_ENTER, FAULT_RETRY
from reference_mmu.semantics import Semantics

MAX_STEPS: Final = 6000  # per model; the longest sensible program takes a tenth of it
MAX_LONE_RETRIES: Final = 40  # fault retries in a row while nobody else moves
_REPLAY_RETRIES: Final = 3  # in an edited schedule, whoever the actor waits for may have been dropped


class Pair:
    """A leader and a follower after (or during) a run.

    `turns`: what the leader did.  `drift_turn`: -1 if they never drifted.  `comparable`: uids of operations whose raw
    results may be compared: complete in both before the drift, or the one in which it began.  Of that one,
    `drift_events` is how many events either model had recorded by then, `drift_in_fault` says that both were inside
    the fault handler (then the outcome of that very fault is still its own), `drift_completed` that one had finished.
    `prefixes`: uids of operations that others were in the middle of, at the same position in both, with how many
    events leader and follower had recorded for them.  `differed`: uid -> number of the turn at which the events or
    counts of an operation were first unequal although nothing had drifted before.
    """

    def __init__(self, program: Program, lead: Semantics, follow: Semantics, models: tuple[Model, Model]) -> None:
        self.program = program
        self.leader = Execution(program, lead, models[0])
        self.follower = Execution(program, follow, models[1])
        self.leader_private = private_points(lead, follow)
        self.follower_private = private_points(follow, lead)
        self.occurrences: list[dict[int, int]] = [{} for _ in program.actors]
        self.turns: list[Turn] = []
        self.drift_turn: i64 = -1
        self.drift_events: i64 = 0
        self.drift_in_fault = False
        self.drift_completed = False
        self.comparable: set[int] = set()
        self.prefixes: dict[int, tuple[int, int]] = {}
        self.differed: dict[int, int] = {}
        self.stuck = False
        self.truncated = False
        self.lone_retries: i64 = 0
        self.last_actor: i64 = -1
        self.observer: Callable[[int], None] | None = None  # told the actor after each turn: for telling a story

    # --- one turn -------------------------------------------------------------------------------------------

    def turn(self, actor: int) -> Turn:
        """The leader's `actor` moves one point; the follower's follows; drift is judged."""
        leader = self.leader
        uid = leader.uid_of(actor)
        place = leader.place[actor]
        if leader.flows[actor] is None:
            self.occurrences[actor] = {}
        point = leader.step(actor)
        seen = self.occurrences[actor]
        occurrence = seen.get(point, 0) + 1
        seen[point] = occurrence
        done = Turn(actor, uid, point, occurrence)
        self.turns.append(done)
        self.count_retries(actor, point)
        try:
            self.follow(actor, place, point == END)
        except ModelBug as bug:
            self.follower.judge.report("model-bug", str(bug))
            self.follower.give_up()
        if self.drift_turn < 0 and point not in self.leader_private:
            if uid not in self.differed and self.differs(uid):
                self.differed[uid] = len(self.turns) - 1
            if self.disagree(actor):
                self.begin_drift(actor, place, uid)
        return done

    def count_retries(self, actor: int, point: int) -> None:
        if actor != self.last_actor:
            self.lone_retries = 0
            self.last_actor = actor
        if point == FAULT_RETRY:
            self.lone_retries += 1

    def follow(self, actor: int, place: i64, ended: bool) -> None:
        """Bring the follower's actor to the leader's position in operation number `place`."""
        follower = self.follower
        while follower.is_live(actor) and follower.place[actor] < place:
            if not follower.can_run(actor) or follower.step(actor) == FAULT_RETRY:
                return
        while follower.is_live(actor) and follower.place[actor] == place:
            if not ended and self.reached(actor):
                return
            if follower.steps >= MAX_STEPS or not follower.can_run(actor):
                return
            point = follower.step(actor)
            if point == END or (point == FAULT_RETRY and ended):
                return

    def reached(self, actor: int) -> bool:
        """Is the follower's actor at or beyond the leader's position, at a point both can have?"""
        leader, follower = self.leader, self.follower
        if follower.flows[actor] is None or follower.at[actor] in self.follower_private:
            return False
        if follower.faults[actor] != leader.faults[actor]:
            return follower.faults[actor] > leader.faults[actor]
        if follower.lap[actor] != leader.lap[actor]:
            return follower.lap[actor] > leader.lap[actor]
        return follower.at[actor] >= leader.at[actor]

    def disagree(self, actor: int) -> bool:
        """Are the two somewhere else, or did they get here, at an operation's end, by another number of faults?"""
        leader, follower = self.leader, self.follower
        if leader.at[actor] == END and leader.ended_faults[actor] != follower.ended_faults[actor]:
            return True
        return (
            leader.place[actor] != follower.place[actor]
            or leader.at[actor] != follower.at[actor]
            or leader.faults[actor] != follower.faults[actor]
            or leader.lap[actor] != follower.lap[actor]
        )

    def differs(self, uid: int) -> bool:
        """Have the two, as far as they are, done something else in operation `uid`, or it at another cost?"""
        leader, follower = self.leader.m, self.follower.m
        if leader.events[uid] != follower.events[uid]:
            return True
        for counter in range(uid * OP_COUNTERS, (uid + 1) * OP_COUNTERS):
            if leader.counters[counter] != follower.counters[counter]:
                return True
        return False

    def since(self, uid: int) -> int:
        """The turn by which operation `uid` had differed, for one that did; no later than it can be told. Of a state
        at the end (a uid that no operation has): after the last turn."""
        if uid in self.differed:
            return self.differed[uid]
        for number in range(len(self.turns) - 1, -1, -1):
            if self.turns[number].uid == uid:
                return number if self.drift_turn < 0 else min(number, int(self.drift_turn))
        return len(self.turns)

    def begin_drift(self, actor: int, place: i64, uid: int) -> None:
        """Note what is still comparable: done in both, or where the drift began."""
        self.drift_turn = len(self.turns) - 1
        for other in range(self.leader.n):
            done = min(self.leader.place[other], self.follower.place[other])
            self.comparable.update(op.uid for op in self.leader.ops[other][:done])
            if other != actor and self.leader.flows[other] is not None and not self.disagree(other):
                begun = self.leader.uid_of(other)
                events = len(self.leader.m.events[begun]), len(self.follower.m.events[begun])
                self.prefixes[begun] = events
        self.comparable.add(uid)
        at = min(self.leader.at[actor], self.follower.at[actor])
        ended = self.leader.at[actor] == END and self.follower.at[actor] == END
        self.drift_completed = ended or self.leader.place[actor] != self.follower.place[actor]
        self.drift_in_fault = FAULT_ENTER <= at <= FAULT_RETRY
        self.drift_events = max(len(self.leader.m.events[uid]), len(self.follower.m.events[uid]))

    # --- whole runs -----------------------------------------------------------------------------------------

    def run(self, scheduler: Scheduler) -> None:
        """Run the program under a scheduler, to the end."""
        leader = self.leader
        while leader.live:
            runnable = leader.runnable()
            if not runnable:
                self.stuck = True
            if not self.can_go_on():
                break
            if not self.guarded_turn(scheduler.pick(runnable, leader)):
                break
        self.finish()

    def replay_turns(self, turns: Sequence[Turn]) -> None:
        """Take each recorded turn if it still makes sense, then run the rest without preemption."""
        leader = self.leader
        for turn in turns:
            while self.before(turn):
                if not self.can_go_on() or not leader.can_run(turn.actor) or self.lone_retries >= _REPLAY_RETRIES:
                    break
                if not self.guarded_turn(turn.actor):
                    self.finish()
                    return
        self.replay_switches(())

    def before(self, turn: Turn) -> bool:
        """Has the leader's actor yet to come where the turn took it?"""
        leader = self.leader
        actor = turn.actor
        if actor >= leader.n or not leader.is_live(actor):
            return False
        uid = leader.uid_of(actor)
        if uid != turn.uid:
            # uids grow along an actor's operations, so an earlier one means that it has still to get there.
            return uid < turn.uid and any(op.uid == turn.uid for op in leader.ops[actor])
        if turn.point == END or leader.flows[actor] is None:
            return True
        return self.occurrences[actor].get(turn.point, 0) < turn.occurrence

    def replay_switches(self, switches: Iterable[Switch]) -> None:
        """Run without preemption but for the switches: the running actor goes on until it has finished, waits, or
        retries a fault; then the next in cyclic order."""
        where = {(switch.uid, switch.point, switch.occurrence): switch.actor for switch in switches}
        leader = self.leader
        current = self.turns[-1].actor if self.turns else -1
        while leader.live:
            if not self.can_go_on():
                break
            runnable = leader.runnable()
            if not runnable:
                self.stuck = True
                break
            current = self.next_actor(current, runnable, where)
            if not self.guarded_turn(current):
                break
        self.finish()

    def next_actor(self, current: int, runnable: list[int], where: dict[tuple[int, int, int], int]) -> int:
        """Who runs: the target of a switch (used up), else whoever would without preemption."""
        if where:
            last = self.turns[-1] if self.turns else Turn(-1, -1, END, 1)
            target = where.pop((last.uid, last.point, last.occurrence), -1)
            if target in runnable:
                return target
        return self.default_actor(current, runnable)

    def default_actor(self, current: int, runnable: list[int]) -> int:
        if current in runnable and self.leader.at[current] != FAULT_RETRY:
            return current
        for actor in runnable:
            if actor > current:
                return actor
        return runnable[0]

    def can_go_on(self) -> bool:
        if self.lone_retries > MAX_LONE_RETRIES:
            self.stuck = True
        if self.leader.steps >= MAX_STEPS:
            self.stuck = True
        return not self.stuck and not self.truncated

    def guarded_turn(self, actor: int) -> bool:
        """turn(); a broken rule of the model is a violation of the leader, and ends the run: False."""
        went_on = True
        try:
            self.turn(actor)
        except ModelBug as bug:
            self.leader.judge.report("model-bug", str(bug))
            self.truncated = True
            went_on = False
        observer = self.observer
        if observer is not None:
            observer(actor)
        return went_on

    def finish(self) -> None:
        """Let the follower catch up, then judge both."""
        leader, follower = self.leader, self.follower
        if self.stuck:
            leader.judge.report("no-progress")
        drained = False
        if not self.stuck and not self.truncated:
            try:
                drained = follower.drain(MAX_STEPS)
            except ModelBug as bug:
                follower.judge.report("model-bug", str(bug))
            leader.judge.finish()
            if drained:
                follower.judge.finish()
        if not drained:
            self.truncated = True
        if self.drift_turn < 0:
            self.comparable.update(op.uid for actor in leader.ops for op in actor)
