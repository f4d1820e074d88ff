# SPDX-License-Identifier: GPL-2.0-only
"""The same search as somebody would write it with Hypothesis: the same compiled models, lockstep, oracles, comparison.

Each arm draws a program, who leads and an interleaving, runs the pair to its end and hands it to `watch`, for ever.
Made as good as could be: nothing is shrunk, stored, timed or checked for health, strategies are made once, a rule of
the state machine runs an actor for several points (one point a rule is five times slower), and whatever does not
finish is run to its end, so that the oracles of the end see it.

There are two of each form. One has Hypothesis draw everything. The other takes program and schedule from mmufuzz and
has Hypothesis draw their seeds: the best that can be had, but a search of mmufuzz's own, and not Hypothesis'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from cli.bench.drawn import drawn_programs
from cli.bench.runner import fresh_pair, outcome_of
from fuzzer.program.program import Program
from fuzzer.run.compare import Comparison, Drive
from fuzzer.run.lockstep import Pair
from fuzzer.strategies import programs, schedules
from reference_mmu.changelog.semantics import NEW, NO_STRUCT_PAGE

if TYPE_CHECKING:
    from fuzzer.run.outcome import Outcome

Watcher = Callable[["Outcome"], None]
Programs = st.SearchStrategy[Program]

# These find most in the same time, of what was tried: 1, 4, 8 or 20 points; 25, 50 or 120 rules; lists of 0, 10, 15 or
# 25 runs at least, which Hypothesis would make five long on average.
_POINTS_MAX: Final = 8  # that an actor runs for in a row
_RULES_MAX: Final = 50
_RUNS_MIN: Final = 25
_COMPARISONS: Final = st.sampled_from((Comparison(NO_STRUCT_PAGE, NEW, "old"), Comparison(NO_STRUCT_PAGE, NEW, "new")))
_PICKS: Final = st.integers(min_value=0, max_value=7)
_RUNS: Final = st.integers(min_value=1, max_value=_POINTS_MAX)


def fastest() -> settings:
    """Generation alone, without end."""
    return settings(
        max_examples=10**9,
        stateful_step_count=_RULES_MAX,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


# --- Hypothesis draws all there is to draw ------------------------------------------------------------------------


def stateful(profile: str, seed: int, watch: Watcher) -> None:
    """A state machine: a rule is an actor that runs for some points."""
    run_machine(drawn_programs(profile), seed, watch)


def given_both(profile: str, seed: int, watch: Watcher) -> None:
    """@given(program, schedule), the schedule as data: who runs, and for how many points."""
    schedule = st.lists(st.tuples(_PICKS, _RUNS), min_size=_RUNS_MIN, max_size=_RULES_MAX).map(by_runs)
    run_given(drawn_programs(profile), schedule, seed, watch)


# --- Hypothesis draws seeds for the generator of the search, and for its schedulers -------------------------------


def stateful_seeded(profile: str, seed: int, watch: Watcher) -> None:
    """The state machine over programs of the search's generator."""
    run_machine(programs(profile), seed, watch)


def given_seeded(profile: str, seed: int, watch: Watcher) -> None:
    """@given(program, schedule) with generator and schedulers of the search: of Hypothesis nothing is left but numbers,
    three a program, and what it takes to draw them."""
    run_given(programs(profile), schedules(), seed, watch)


# --- both forms ---------------------------------------------------------------------------------------------------


def run_given(program_of: Programs, schedule_of: st.SearchStrategy[Drive], seed: int, watch: Watcher) -> None:
    @seeded(seed)
    @fastest()
    @given(program_of, schedule_of, _COMPARISONS)
    def run(program: Program, schedule: Drive, comparison: Comparison) -> None:
        watch(comparison.run(program, schedule))

    run()


def run_machine(program_of: Programs, seed: int, watch: Watcher) -> None:
    """Run the state machine without end; what the rules leave over runs at the end, without preemption."""

    class Interleaving(RuleBasedStateMachine):
        pair: Pair | None = None

        @initialize(program=program_of, comparison=_COMPARISONS)
        def begin(self, program: Program, comparison: Comparison) -> None:
            self.comparison = comparison
            self.pair = fresh_pair(comparison, program)

        @precondition(lambda self: self.pair is not None and can_run(self.pair))
        @rule(pick=_PICKS, points=_RUNS)
        def run(self, pick: int, points: int) -> None:
            assert self.pair is not None
            run_for(self.pair, pick, points)

        @precondition(lambda self: self.pair is None or not can_run(self.pair))
        @rule()
        def rest(self) -> None:
            """Do nothing: there has to be a rule that can be taken."""

        def teardown(self) -> None:
            if self.pair is not None:
                self.pair.replay_switches(())
                watch(outcome_of(self.comparison, self.pair))

    run_state_machine_as_test(seeded(seed)(Interleaving), settings=fastest())


def by_runs(runs: list[tuple[int, int]]) -> Drive:
    """An interleaving as data; what it leaves over runs without preemption."""

    def drive(pair: Pair) -> None:
        for pick, points in runs:
            if not can_run(pair):
                break
            run_for(pair, pick, points)
        pair.replay_switches(())

    return drive


def can_run(pair: Pair) -> bool:
    return bool(pair.leader.runnable()) and pair.can_go_on()


def run_for(pair: Pair, pick: int, points: int) -> None:
    """Let one of the runnable actors run, until it has passed so many points, waits, or has nothing left to do."""
    runnable = pair.leader.runnable()
    actor = runnable[pick % len(runnable)]
    for _ in range(points):
        if not pair.can_go_on() or not pair.guarded_turn(actor) or actor not in pair.leader.runnable():
            break
