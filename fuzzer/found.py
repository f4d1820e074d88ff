# SPDX-License-Identifier: GPL-2.0-only
"""A finding with the reproducer that tells it: the smallest story, or the whole program until somebody has looked."""

from __future__ import annotations

from functools import partial

import msgspec

from fuzzer.judge.finding import Finding, Verdict
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import Minimized, Minimizer, PassCount
from fuzzer.reproducer import encode_reproducer, make_reproducer
from fuzzer.run.compare import by_turns


class Found(msgspec.Struct):
    """A signature as one search knows it. `reproducer` is the file's content, None if minimization lost the finding;
    `minimized` says that it is the smallest story, `operations` and `preemptions` how small it is. `effort`: what the
    story cost, in turns, and `passes` of the minimizer, in runs."""

    finding: Finding
    count: int
    first_seed: int
    reproducer: bytes | None
    operations: int = 0
    preemptions: int = 0
    executions: int = 0
    minimized: bool = True
    effort: int = 0
    passes: tuple[PassCount, ...] = ()


def cause_of(finding: Finding) -> tuple[object, ...]:
    """Findings of one cause are the same bug before minimization has told where it races."""
    return finding.kind, finding.what, finding.side, finding.verdict, finding.patches, finding.direction


def minimized(trial: Trial, finding: Finding, budget: int, seed: int) -> Found:
    """The smallest story of a finding as a reproducer, and the finding as that story shows it: a violation that the
    other side turns out to have, too, where all is gone that saved it, is baseline. One that was taken for baseline,
    since NEW breaks the same next door by another cause, may be OLD's alone."""
    trial = trial.teller(finding)
    minimizer = Minimizer(trial.comparison, partial(trial.shows, finding), budget)
    result = minimizer.minimize(trial.program, trial.outcome.turns)
    if result is None:
        return Found(finding, 1, seed, None, effort=minimizer.effort)
    if finding.kind == "violation":
        old, new = result.outcome.violations("old"), result.outcome.violations("new")
        violation = new[finding.what] if finding.side == "new" or finding.what not in old else old[finding.what]
        finding = msgspec.structs.replace(finding, sites=trial.sites(violation))
        anew = Trial(trial.comparison, by_turns(result.outcome.turns), result.outcome).violation(finding.what)
        if anew.verdict == Verdict.BASELINE or (finding.verdict == Verdict.BASELINE and anew.side == "old"):
            finding = msgspec.structs.replace(anew, sites=finding.sites)
    return found_in(trial, finding, result, seed)


def bare(trial: Trial, finding: Finding, seed: int) -> Found:
    """A finding with its whole program as the reproducer, for as long as nobody has found a smaller story."""
    trial = trial.teller(finding)
    minimizer = Minimizer(trial.comparison, partial(trial.shows, finding))
    result = minimizer.as_it_is(trial.program, trial.outcome.turns)
    if result is None:
        return Found(finding, 1, seed, None, minimized=False, effort=minimizer.effort)
    found = found_in(trial, finding, result, seed)
    found.minimized = False
    return found


def found_in(trial: Trial, finding: Finding, result: Minimized, seed: int) -> Found:
    """A finding with a story as its reproducer."""
    scenario = result.scenario
    reproducer = make_reproducer(
        trial.comparison, scenario, result.outcome, finding, result.complete, trial.script.profile
    )
    return Found(
        finding,
        1,
        seed,
        encode_reproducer(reproducer),
        scenario.program.operations(),
        len(scenario.switches),
        result.executions,
        effort=result.effort,
        passes=result.passes,
    )
