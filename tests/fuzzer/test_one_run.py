# SPDX-License-Identifier: GPL-2.0-only
"""One run that nobody recorded: what a search would see in it, and its rows whether or not there is anything."""

import pytest

from fuzzer.judge.finding import Verdict
from fuzzer.judge.seen import seen_in
from fuzzer.one_run import run_once
from fuzzer.program.ops import Read
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import trace_digest
from fuzzer.run.compare import Comparison, by_seed, by_switches, leader_of
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from tests.golden import golden

BUG = golden("bug-219588")
HARMLESS = Program(BUG.program.config, (Actor("vcpu", (Read(1, 13),)),))


@pytest.mark.parametrize("seed", range(6))
def test_the_run_of_a_seed_is_that_of_a_search(seed: int) -> None:
    runner = SeedRunner(OLD, NEW, PROFILES["tdp"], strategies=("pct", "burst"))
    comparison = Comparison(OLD, NEW, leader_of(seed))
    run = run_once(comparison, runner.program_of(seed), by_seed(seed, ("pct", "burst")))
    trial = runner.run(seed)
    assert trace_digest(run.outcome) == trace_digest(trial.outcome)
    assert [finding.what for finding in run.findings] == [trial.judged(seen).what for seen in seen_in(trial.outcome)]


def test_seeds_take_turns_in_who_leads() -> None:
    assert [leader_of(seed) for seed in range(4)] == ["old", "new", "old", "new"]


def test_a_bug_is_judged_as_in_its_reproducer() -> None:
    run = run_once(BUG.comparison(), BUG.program, by_switches(BUG.scenario().switches))
    (violation,) = [finding for finding in run.findings if finding.kind == "violation"]
    assert (violation.what, violation.verdict) == (BUG.finding.what, Verdict.FIXED)
    assert violation.patches == BUG.finding.patches


def test_a_run_that_shows_nothing_has_its_rows() -> None:
    run = run_once(Comparison(OLD, NEW, "old"), HARMLESS, by_switches(()))
    assert run.findings == ()
    assert [row.turn for row in run.rows] == [*range(1, len(run.outcome.turns) + 1), 0]
    assert all(row.old == row.new for row in run.rows)
