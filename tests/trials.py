# SPDX-License-Identifier: GPL-2.0-only
"""One program under one schedule, to be judged."""

from fuzzer.judge.finding import Finding
from fuzzer.judge.verdict import Trial
from fuzzer.program.program import Program
from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Comparison, by_switches
from fuzzer.schedule.schedule import Switch


def tried_by(comparison: Comparison, program: Program, *switches: Switch) -> Trial:
    drive = by_switches(switches)
    return Trial(comparison, drive, comparison.run(program, drive))


def replayed(reproducer: Reproducer) -> Trial:
    return tried_by(reproducer.comparison(), reproducer.program, *reproducer.scenario().switches)


def only_divergence(trial: Trial, effect: str) -> Finding:
    (divergence,) = [d for d in trial.outcome.divergences if d.effect == effect]
    return trial.divergence(divergence)
