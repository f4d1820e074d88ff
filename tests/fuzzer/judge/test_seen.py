# SPDX-License-Identifier: GPL-2.0-only
"""What a program showed, the trace that it leaves, and whether another run shows the same."""

import msgspec
import pytest

from fuzzer.judge.seen import Breach, Trace, breach_of, seen_in, trace_of
from fuzzer.judge.shows import shows
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_switches
from fuzzer.run.divergence import Divergence
from fuzzer.seed_runner import SeedRunner
from fuzzer.sighting import LostSight, seen_again
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from tests.golden import golden

BUG = golden("bug-219588")
RUNNER = SeedRunner(OLD, NEW, PROFILES["mixed"])


def test_a_broken_invariant_is_known_by_its_sides() -> None:
    outcome = BUG.run()
    assert breach_of(outcome, BUG.finding.what) == Breach("stale-writable-mmuw", "old")
    assert Breach("stale-writable-mmuw", "old") in seen_in(outcome)


def test_stored_traces_spell_the_sides_as_ever() -> None:
    one = BUG.run()
    both = Comparison(OLD, OLD, BUG.leader).run(BUG.program, by_switches(BUG.scenario().switches))
    assert breach_of(both, BUG.finding.what).sides == "both"
    for outcome, stored in ((one, "old"), (both, "oldnew")):
        seen = breach_of(outcome, BUG.finding.what)
        assert trace_of(outcome, seen) == Trace("violation", BUG.finding.what, (stored, BUG.leader, "tdp"))


def test_an_effect_is_seen_once_for_each_kind_of_operation() -> None:
    for seed in range(60):
        outcome = RUNNER.run(seed).outcome
        effects = [seen for seen in seen_in(outcome) if isinstance(seen, Divergence)]
        traces = [trace_of(outcome, seen) for seen in effects]
        assert len({(trace.what, trace.where[0]) for trace in traces}) == len(traces)
        assert {seen.effect for seen in effects} == {seen.effect for seen in outcome.divergences}


def test_what_was_seen_is_found_again_by_its_trace_and_shows_itself() -> None:
    found = 0
    for seed in range(60):
        trial = RUNNER.run(seed)
        for seen in seen_in(trial.outcome):
            trace = trace_of(trial.outcome, seen)
            assert seen_again(trial, trace) == seen
            assert msgspec.json.decode(trace.key(), type=Trace) == trace
            assert shows(trial.judged(seen), trial.outcome)
            found += 1
    assert found > 20


def test_what_was_not_seen_is_not_found() -> None:
    with pytest.raises(LostSight, match="the program does not show"):
        seen_again(RUNNER.run(0), Trace("violation", "stale-read", ("new", "old", "tdp")))
