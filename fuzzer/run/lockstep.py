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

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.program.script import Script
from fuzzer.run.execute import Execution, private_points
from fuzzer.run.model import Model
from fuzzer.schedule.running_actor import RunningActor
from fuzzer.schedule.schedule import Switch, Turn
from fuzzer.schedule.scheduler import Scheduler
from fuzzer.schedule.turns import Turns
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.points import END, FAULT_ENTER, FAULT_RETRY
from reference_mmu.rwlock import ModelBug, Raised

MAX_STEPS: Final = 6000  # per model; the longest sensible program takes a tenth of it
MAX_LONE_RETRIES: Final = 40  # fault retries in a row while nobody else moves
_REPLAY_RETRIES: Final = 3  # in an edited schedule, whoever the actor waits for may have been dropped


class Pair:
    """A leader and a follower after (or during) a run.

    `turns`: what the leader did.  `drift_turn`: -1 if they never drifted.  `comparable`: by uid, 1 for operations whose
    raw results may be compared: complete in both before the drift, or the one in which it began.  Of that one,
    `drift_events` is how many events leader and follower had recorded by then, `drift_in_fault` says that both were
    inside the handler of the same fault (then its outcome is still its own), `drift_completed` that one had finished.
    `prefixes`: uids of operations that others were in the middle of, at the same position in both, with how many
    events leader and follower had recorded for them.  `differed`: by uid, the number of the turn at which the events or
    counts of an operation were first unequal although nothing had drifted before, -1 if they were not.
    """

    def __init__(self, script: Script, lead: Semantics, follow: Semantics, models: tuple[Model, Model]) -> None:
        self.script = script
        self.leader = Execution(script, lead, models[0])
        self.follower = Execution(script, follow, models[1])
        self.leader_private = private_points(self.leader.points, lead, follow)
        self.follower_private = private_points(self.leader.points, follow, lead)
        self.turns = Turns(script.uid_limit)
        self.drift_turn: i64 = -1
        self.drift_events: tuple[int, int] = (0, 0)
        self.drift_in_fault = False
        self.drift_completed = False
        self.comparable: vec[i64] = vec[i64]([0] * script.uid_limit)
        self.prefixes: dict[int, tuple[int, int]] = {}
        self.differed: vec[i64] = vec[i64]([-1] * script.uid_limit)
        self.stuck = False
        self.truncated = False
        self.lone_retries: i64 = 0
        self.last_actor: i64 = -1
        self.observer: Callable[[int], None] | None = None  # told the actor after each turn: for telling a story

    # --- one turn -------------------------------------------------------------------------------------------

    def turn(self, actor: i64) -> None:
        """The leader's `actor` moves one point; the follower's follows; drift is judged."""
        leader, follower = self.leader.actors[actor], self.follower.actors[actor]
        uid, place = leader.uid, leader.place
        point = self.leader.step(leader)
        self.turns.add(actor, uid, point)
        self.count_retries(actor, point)
        try:
            # Before a step that the follower has not, it stays where it is, or would be ahead by all that follows.
            if self.leader.points.extras[point] == 0 or not self.leader_private.has(point):
                self.follow(leader, follower, place)
        except ModelBug as bug:
            blame(self.follower, bug)
            self.follower.give_up()
        if self.drift_turn < 0 and not self.leader_private.has(point):
            if self.differed[uid] < 0 and self.differs(uid):
                self.differed[uid] = len(self.turns) - 1
            if not leader.is_abreast(follower):
                self.begin_drift(actor, uid)

    def count_retries(self, actor: i64, point: i64) -> None:
        if actor != self.last_actor:
            self.lone_retries = 0
            self.last_actor = actor
        if point == FAULT_RETRY:
            self.lone_retries += 1

    def follow(self, leader: RunningActor, follower: RunningActor, place: i64) -> None:
        """Bring the follower's actor to the leader's position in operation number `place`."""
        execution = self.follower
        while follower.uid >= 0 and follower.place < place:
            if execution.steps >= MAX_STEPS or not execution.can_run(follower):
                return
            if execution.step(follower) == FAULT_RETRY:
                return
        ended = leader.place != place
        while follower.uid >= 0 and follower.place == place:
            if not ended and self.has_arrived(leader, follower):
                return
            if execution.steps >= MAX_STEPS or not execution.can_run(follower):
                return
            point = execution.step(follower)
            if point == END or (point == FAULT_RETRY and ended):
                return

    def has_arrived(self, leader: RunningActor, follower: RunningActor) -> bool:
        """Is the follower's actor at or beyond the leader's position, at a point both can have?"""
        return follower.flow is not None and not self.follower_private.has(follower.at) and follower.reached(leader)

    def differs(self, uid: i64) -> bool:
        """Have the two, as far as they are, done something else in operation `uid`, or it at another cost?"""
        return not self.leader.m.observed.same(self.follower.m.observed, uid)

    def since(self, uid: int) -> int:
        """Number of the turn at which a difference of operation `uid` was first seen; where that was not noted, its
        last_turn()."""
        if 0 <= uid < len(self.differed) and self.differed[uid] >= 0:
            return int(self.differed[uid])
        return self.last_turn(uid)

    def last_turn(self, uid: int) -> int:
        """Number of the last turn of operation `uid`, but none after the drift. For final states (a `uid` that no
        operation has), one past the last turn."""
        for number in range(len(self.turns) - 1, -1, -1):
            if self.turns.uid(number) == uid:
                return number if self.drift_turn < 0 else min(number, int(self.drift_turn))
        return len(self.turns)

    def begin_drift(self, actor: i64, uid: i64) -> None:
        """Note what is still comparable: done in both, or where the drift began."""
        self.drift_turn = len(self.turns) - 1
        observed, others = self.leader.m.observed, self.follower.m.observed
        for number in range(len(self.leader.actors)):
            leader, follower = self.leader.actors[number], self.follower.actors[number]
            for done in range(min(leader.place, follower.place)):
                self.comparable[leader.calls[done].uid] = 1
            if number != actor and leader.flow is not None and leader.is_abreast(follower):
                events = int(observed.n_events[leader.uid]), int(others.n_events[leader.uid])
                self.prefixes[int(leader.uid)] = events
        self.comparable[uid] = 1
        leader, follower = self.leader.actors[actor], self.follower.actors[actor]
        ended = leader.at == END and follower.at == END
        self.drift_completed = ended or leader.place != follower.place
        ranks = self.leader.points.ranks
        inside = ranks[FAULT_ENTER] <= min(leader.rank, follower.rank) <= ranks[FAULT_RETRY]
        self.drift_in_fault = inside and leader.faults == follower.faults
        self.drift_events = int(observed.n_events[uid]), int(others.n_events[uid])

    # --- whole runs -----------------------------------------------------------------------------------------

    def run(self, scheduler: Scheduler) -> None:
        """Run the program under a scheduler, to the end."""
        leader = self.leader
        while leader.n_live != 0:
            if leader.find_ready() == 0:
                self.stuck = True
            if not self.can_go_on():
                break
            if not self.guarded_turn(scheduler.pick(leader)):
                break
        self.finish()

    def replay_turns(self, turns: Sequence[Turn]) -> None:
        """Take each recorded turn if it still makes sense, then run the rest without preemption."""
        for turn in turns:
            while self.before(turn):
                if (
                    not self.can_go_on()
                    or not self.leader.can_run(self.leader.actors[turn.actor])
                    or self.lone_retries >= _REPLAY_RETRIES
                ):
                    break
                if not self.guarded_turn(turn.actor):
                    self.finish()
                    return
        self.replay_switches(())

    def before(self, turn: Turn) -> bool:
        """Has the leader's actor yet to come where the turn took it?"""
        if turn.actor >= len(self.leader.actors):
            return False
        running = self.leader.actors[turn.actor]
        if running.uid < 0:
            return False
        if running.uid != turn.uid:
            # uids grow along an actor's operations, so an earlier one means that it has still to get there.
            return running.uid < turn.uid and running.has(turn.uid)
        if turn.point == END or running.flow is None:
            return True
        return self.turns.occurrences(turn.uid, turn.point) < turn.occurrence

    def replay_switches(self, switches: Iterable[Switch]) -> None:
        """Run without preemption but for the switches: the running actor goes on until it has finished, waits, or
        retries a fault; then the next in cyclic order."""
        where = {(switch.uid, switch.point, switch.occurrence): switch.actor for switch in switches}
        leader = self.leader
        current = int(self.turns.actor(-1)) if len(self.turns) else -1
        while leader.n_live != 0:
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
            last = self.turns.last() if len(self.turns) else Turn(-1, -1, END, 1)
            target = where.pop((last.uid, last.point, last.occurrence), -1)
            if target in runnable:
                return target
        return self.default_actor(current, runnable)

    def default_actor(self, current: int, runnable: list[int]) -> int:
        if current in runnable and self.leader.actors[current].at != FAULT_RETRY:
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

    def guarded_turn(self, actor: i64) -> bool:
        """turn(); a broken rule of the model is a violation of the leader, and ends the run: False."""
        went_on = True
        try:
            self.turn(actor)
        except ModelBug as bug:
            blame(self.leader, bug)
            self.truncated = True
            went_on = False
        observer = self.observer
        if observer is not None:
            observer(int(actor))
        return went_on

    def finish(self) -> None:
        """Let the follower catch up, then judge both: each of them may be stuck, whatever the other is."""
        leader, follower = self.leader, self.follower
        if self.stuck:
            leader.judge.report("no-progress")
        drained = False
        if not self.truncated:
            try:
                drained = follower.drain(MAX_STEPS)
                if not drained:
                    follower.judge.report("no-progress")
            except ModelBug as bug:
                blame(follower, bug)
        if not self.stuck and not self.truncated:
            leader.finish()
            if drained:
                follower.finish()
        if not drained:
            self.truncated = True
        if self.drift_turn < 0:
            for calls in self.script.calls:
                for call in calls:
                    self.comparable[call.uid] = 1


def blame(side: Execution, bug: ModelBug) -> None:
    """Report what tore the run of one side."""
    side.judge.report("exception" if isinstance(bug, Raised) else "model-bug", str(bug))
