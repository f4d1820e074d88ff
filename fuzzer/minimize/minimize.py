# SPDX-License-Identifier: GPL-2.0-only
"""The smallest story that still shows a finding.

Every candidate goes through one door, `consider`: is it smaller, does the exact replay still show the finding, then
commit.  Operations are dropped first, under *turns*, which survive it; the result is recorded and written as
*switches*, which are then dropped one by one, with the operations again, until nothing more goes.  So the result is
1-minimal: without any single operation or switch the finding is gone (or the budget ran out, which is said).

A story can be 1-minimal and still go to and fro for nothing, since there and back are two switches and moving work
across a switch drops none.  So when nothing more goes, its turns are *rearranged* (rearrange.py): runs of one actor
joined, actors exchanged or made one.  What needs fewer switches that way is committed, and dropping goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from fuzzer.judge.shows import Rerun
from fuzzer.minimize.rearrange import Arranged, rearrangements
from fuzzer.program.arguments import SIMPLEST
from fuzzer.program.ops import ARGUMENTS, AnyOperation
from fuzzer.program.program import Actor, Program
from fuzzer.run.compare import Comparison, Drive, by_switches, by_turns
from fuzzer.run.drive import turn_by_turn
from fuzzer.run.effort import effort_of
from fuzzer.run.lockstep import Pair
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Switch, Turn
from reference_mmu.config import ConfigError
from reference_mmu.points import END
from reference_mmu.record import Record

DEFAULT_BUDGET: Final = 1000  # executions of a pair
# An execution with more turns than this counts as several: a program that goes round in circles, up to the step limit,
# must not take the time of ten others.
_USUAL_STEPS: Final = 1000

# Is it still the same finding?
StillShows = Callable[[Outcome, Rerun], bool]


class Scenario(Record):
    """A program with its switches: what a reproducer stores, and what people are told as a story."""

    program: Program
    switches: tuple[Switch, ...]

    def size(self) -> tuple[int, int, int, int]:
        """What makes a story smaller than another: fewer operations first, then fewer switches, of these fewer inside
        an operation, then simpler arguments."""
        inside = sum(switch.point != END for switch in self.switches)
        return self.program.operations(), len(self.switches), inside, len(self.program.encode()) + oddity(self.program)


def oddity(program: Program) -> int:
    """How far the configuration is from a plain one, in characters: a mode that is on weighs more than the shorter
    spelling of "true" saves, and so does host memory that is not simply anonymous."""
    config = program.config
    modes = (config.eager_split, config.manual_protect, config.initially_set, config.prove_mmu, config.nested)
    walkers = not config.sets_young
    special = sum(kind != "anon" for kind in config.backing)
    return 2 * sum(modes) + 2 * walkers + 2 * special + 2 * (not config.zap_all_quirk)


class PassCount(Record):
    """What one pass cost and gained: pairs run, and how often that made the scenario smaller."""

    name: str
    calls: int
    shrinks: int


class Pass:
    """One way to make a scenario smaller. `candidates` guesses from the best scenario so far, the most promising first;
    it looks at nothing but that scenario and the run that shows it, and may guess wrong: the minimizer tries."""

    def __init__(
        self, name: str, candidates: Callable[[Scenario], Iterator[Scenario | Arranged]] = lambda scenario: iter(())
    ) -> None:
        self.name: Final = name
        self.candidates: Final = candidates
        self.calls = 0
        self.shrinks = 0

    def count(self) -> PassCount:
        """As it is now."""
        return PassCount(self.name, self.calls, self.shrinks)


class Minimized(Record):
    """`complete`: 1-minimal; False if the budget ended the search. `executions`: pairs run. `effort`: what these cost,
    in turns. `passes`: where the executions went, in the order in which passes are made."""

    scenario: Scenario
    outcome: Outcome
    complete: bool
    executions: int
    effort: int = 0
    passes: tuple[PassCount, ...] = ()


class Minimizer:
    """One minimization. `shows(outcome, rerun)` says whether an outcome is still the same finding; it may
    run the same schedule under other semantics by calling rerun(comparison)."""

    def __init__(self, comparison: Comparison, shows: StillShows, budget: int = DEFAULT_BUDGET) -> None:
        self.comparison = comparison
        self.shows = shows
        self.budget = budget
        self.executions = 0
        self.effort = 0
        self._spent = 0
        self.best: Scenario | None = None
        self.outcome: Outcome | None = None
        self.seen: set[bytes] = set()

    def minimize(self, program: Program, turns: list[Turn]) -> Minimized | None:
        """The smallest story, None if the finding does not even survive the change to switches."""
        under_turns = Pass("operations under turns")
        program, turns = self.drop_under_turns(program, turns, under_turns)
        if not self.consider(self.written(program, turn_by_turn(turns))):
            return None
        # Not kept: some of them lead back to this minimizer, and so to machines.
        passes = (
            Pass("operations", dropped_operations),
            Pass("switches", dropped_switches),
            Pass("recorded anew", self.recorded_anew),
            Pass("arguments", simpler_arguments),
            Pass("configuration", simpler_configurations),
            Pass("rearranged", self.rearranged),
        )
        has_shrunk = True
        while has_shrunk and not self.spent():
            # All of them, and not up to the first that shrinks: each leaves less to the next.
            has_shrunk = max([self.make(one) for one in passes])
        return self.result((under_turns, *passes), complete=not self.spent())

    def result(self, passes: Iterable[Pass], *, complete: bool) -> Minimized:
        """The best scenario so far."""
        assert self.best is not None
        assert self.outcome is not None
        counts = tuple(one.count() for one in passes)
        return Minimized(self.best, self.outcome, complete, self.executions, self.effort, counts)

    def as_it_is(self, program: Program, turns: list[Turn]) -> Minimized | None:
        """The recorded run as a scenario, nothing left out; None if the finding does not survive being so written."""
        if not self.consider(self.written(program, turn_by_turn(turns))):
            return None
        return self.result((), complete=False)

    def spent(self) -> bool:
        """Is the budget used up?"""
        return self._spent >= self.budget

    # --- under turns ----------------------------------------------------------------------------------------

    def drop_under_turns(self, program: Program, turns: list[Turn], one: Pass) -> tuple[Program, list[Turn]]:
        """Drop operations as long as the finding shows, big cuts first: whole actors, then single operations from the
        back."""
        before = self.executions
        for candidate in smaller_programs(program):
            # Built from the program at hand when it is tried, so that earlier cuts stay.
            smaller = candidate(program)
            if smaller is None or self.spent():
                continue
            kept = smaller.uids()
            fewer = [turn for turn in turns if turn.uid in kept]
            outcome = self.run(smaller, by_turns(fewer))
            if self.shows(outcome, self.replayer(smaller, by_turns(list(fewer)))):
                program, turns = smaller, list(outcome.turns)
                one.shrinks += 1
        one.calls += self.executions - before
        return program, turns

    # --- under switches -------------------------------------------------------------------------------------

    def consider(self, scenario: Scenario) -> bool:
        """The one door for candidates: commit to a smaller scenario that still shows the finding."""
        if self.best is not None and scenario.size() >= self.best.size():
            return False
        key = msgspec.json.encode(scenario)
        if key in self.seen or self.spent():
            return False
        self.seen.add(key)
        try:
            scenario.program.check()
        except ConfigError:
            return False
        drive = by_switches(scenario.switches)
        outcome = self.run(scenario.program, drive)
        if not self.shows(outcome, self.replayer(scenario.program, drive)):
            return False
        self.best = scenario
        self.outcome = outcome
        return True

    def make(self, one: Pass) -> bool:
        """Make a pass: try its candidates of the best scenario until none is left that improves it; True if one did."""
        before = self.executions, one.shrinks
        self.try_all(one)
        one.calls += self.executions - before[0]
        return one.shrinks > before[1]

    def try_all(self, one: Pass) -> None:
        """After an improvement the scan goes on where it was: what comes before was just tried on nearly the same
        scenario."""
        start = 0
        while not self.spent():
            assert self.best is not None
            for number, candidate in enumerate(one.candidates(self.best)):
                if self.spent():
                    break
                if number >= start and self.consider(self.in_switches(candidate)):
                    one.shrinks += 1
                    start = number
                    break
            else:
                if start == 0:
                    break
                start = 0

    def recorded_anew(self, scenario: Scenario) -> Iterator[Scenario]:
        """The switches that the run really took: those that never fired, or changed nothing, are not among them."""
        yield self.written(scenario.program, by_switches(scenario.switches))

    def rearranged(self, scenario: Scenario) -> Iterator[Arranged]:
        """The turns of the scenario in other orders, with fewer switches."""
        assert self.outcome is not None
        if scenario.switches:
            yield from rearrangements(scenario.program, self.outcome.turns)

    def in_switches(self, candidate: Scenario | Arranged) -> Scenario:
        """A scenario as it is; a rearrangement as the scenario that it turns out to be when run."""
        if isinstance(candidate, Scenario):
            return candidate
        program, turns = candidate
        return self.written(program, by_turns(turns))

    def written(self, program: Program, drive: Drive) -> Scenario:
        """What a program does under `drive`, written as switches: one execution."""
        switches: list[Switch] = []
        self.count(self.comparison.run(program, writing(switches, drive)))
        return Scenario(program, tuple(switches))

    def run(self, program: Program, drive: Drive) -> Outcome:
        return self.count(self.comparison.run(program, drive))

    def replayer(self, program: Program, drive: Drive) -> Rerun:
        return lambda comparison: self.count(comparison.run(program, drive))

    def count(self, outcome: Outcome) -> Outcome:
        """Charge an execution to the budget."""
        self.executions += 1
        self.effort += effort_of(outcome)
        self._spent += 1 + outcome.steps // _USUAL_STEPS
        return outcome


def with_ops(program: Program, index: int, ops: Iterable[AnyOperation]) -> Program:
    """The program with other operations for one actor."""
    actors = list(program.actors)
    actors[index] = Actor(actors[index].kind, tuple(ops))
    return Program(program.config, tuple(actors))


def smaller_programs(program: Program) -> Iterator[Callable[[Program], Program | None]]:
    """Cuts, as functions of the program they will be applied to; None where nothing is left to cut."""

    def drop_actor(index: int) -> Callable[[Program], Program | None]:
        return lambda p: with_ops(p, index, ()) if p.actors[index].ops else None

    def drop_operation(uid: int) -> Callable[[Program], Program | None]:
        return lambda p: p.without(uid) if uid in p.uids() else None

    for index in reversed(range(len(program.actors))):
        yield drop_actor(index)
    for actor in program.actors:
        for op in reversed(actor.ops):
            yield drop_operation(op.uid)


def switches_of(comparison: Comparison, program: Program, drive: Drive) -> tuple[Switch, ...]:
    """Run under `drive` and write the run as switches."""
    switches: list[Switch] = []
    comparison.run(program, writing(switches, drive))
    return tuple(switches)


def writing(switches: list[Switch], drive: Drive) -> Drive:
    """`drive`, writing the run as switches: one wherever somebody else goes on than would by default."""

    def record(pair: Pair) -> None:
        leader = pair.leader
        by_default = pair.default_actor(-1, leader.runnable()) if leader.n_live else -1
        last = Turn(-1, -1, END, 1)

        def note(actor: int) -> None:
            nonlocal by_default, last
            if actor != by_default:
                switches.append(Switch(last.uid, last.point, last.occurrence, actor))
            last = pair.turns.last()
            runnable = leader.runnable()
            by_default = pair.default_actor(actor, runnable) if runnable else -1

        pair.observer = note
        drive(pair)
        pair.observer = None  # it leads back to the pair

    return record


def dropped_operations(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios without one operation, and the switches at its points; then without one empty actor."""
    for uid in sorted(scenario.program.uids(), reverse=True):
        kept = tuple(switch for switch in scenario.switches if switch.uid != uid)
        yield Scenario(scenario.program.without(uid), kept)
        yield Scenario(scenario.program.without(uid), renamed(scenario, uid))
    for index, actor in enumerate(scenario.program.actors):
        if not actor.ops:
            yield drop_empty_actor(scenario, index)


def renamed(scenario: Scenario, uid: int) -> tuple[Switch, ...]:
    """Switches of a dropped operation move to the end of the one before it, so that the next actor stays determined."""
    for actor in scenario.program.actors:
        uids = [op.uid for op in actor.ops]
        if uid in uids:
            at = uids.index(uid)
            before = uids[at - 1] if at else -1
            return tuple(s if s.uid != uid else Switch(before, END, 1, s.actor) for s in scenario.switches)
    return scenario.switches


def drop_empty_actor(scenario: Scenario, index: int) -> Scenario:
    """An actor that does nothing goes; those after it move up, in the switches too."""
    program = scenario.program
    actors = program.actors[:index] + program.actors[index + 1 :]
    switches = tuple(
        Switch(s.uid, s.point, s.occurrence, s.actor - (s.actor > index)) for s in scenario.switches if s.actor != index
    )
    return Scenario(Program(program.config, actors), switches)


def dropped_switches(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios without a run of switches, long ones first: a needless excursion is two switches, there and back, and
    each alone may be needed as long as the other is there. Then each one put off to the end of its operation."""
    switches = scenario.switches
    lengths = [n for n in (8, 4, 3, 2, 1) if n <= len(switches)]
    for length in lengths:
        for index in range(len(switches) - length + 1):
            yield Scenario(scenario.program, switches[:index] + switches[index + length :])
    for index, switch in enumerate(switches):
        if switch.point != END:
            later = Switch(switch.uid, END, 1, switch.actor)
            yield Scenario(scenario.program, (*switches[:index], later, *switches[index + 1 :]))


def simpler_arguments(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios with simpler arguments: no rescheduling, no failing upgrades, one page instead of a range."""
    for number, actor in enumerate(scenario.program.actors):
        for index, op in enumerate(actor.ops):
            for simpler in simpler_operations(op):
                ops = [*actor.ops[:index], simpler, *actor.ops[index + 1 :]]
                yield Scenario(with_ops(scenario.program, number, ops), scenario.switches)


def simpler_operations(op: AnyOperation) -> Iterator[AnyOperation]:
    """The operation with one argument that is the simplest of its type and was not."""
    for argument, simplest in SIMPLEST.items():
        for field, argument_of_field in ARGUMENTS[type(op)].items():
            if argument_of_field is argument and getattr(op, field) != simplest:
                yield msgspec.structs.replace(op, **{field: simplest})


def simpler_configurations(scenario: Scenario) -> Iterator[Scenario]:
    """Fewer modes, fewer vCPUs, one slot, plain anonymous memory."""
    config = scenario.program.config
    vcpus = sum(actor.kind == "vcpu" for actor in scenario.program.actors)
    changes: list[dict[str, object]] = [
        {"initially_set": False},
        {"manual_protect": False, "initially_set": False},
        {"eager_split": False},
        {"prove_mmu": False},
        {"nested": False},
        {"hardware_young": msgspec.UNSET},
        {"zap_all_quirk": True},
        {"vcpus": max(1, vcpus)},
    ]
    changes.extend(
        {"backing": (*config.backing[:n], "anon", *config.backing[n + 1 :])} for n in range(len(config.backing))
    )
    if len(config.slots) > 1:
        changes.append({"slots": config.slots[:1]})
    for change in changes:
        simpler = msgspec.structs.replace(config, **change)
        if simpler != config:
            yield Scenario(Program(simpler, scenario.program.actors), scenario.switches)
