# SPDX-License-Identifier: GPL-2.0-only
"""One program under one interleaving that no reproducer records: its rows, and what it shows, judged."""

from __future__ import annotations

from typing import NamedTuple

from fuzzer.judge.finding import Finding
from fuzzer.judge.seen import Seen, seen_in
from fuzzer.judge.verdict import Trial
from fuzzer.program.program import Program
from fuzzer.run.compare import Comparison, Drive
from fuzzer.run.divergence import Divergence
from fuzzer.run.outcome import Outcome
from fuzzer.tell.story import Row, watch


class OneRun(NamedTuple):
    """A finished run with its rows; `findings` is empty if both models did the same and broke nothing."""

    outcome: Outcome
    rows: list[Row]
    findings: tuple[Finding, ...]


def run_once(comparison: Comparison, program: Program, drive: Drive) -> OneRun:
    """Run, watch and judge as a search would, but without making anything smaller."""
    outcome, rows = watch(comparison, program, drive)
    trial = Trial(comparison, drive, outcome)
    return OneRun(outcome, rows, tuple(_judged(trial, what) for what in seen_in(outcome)))


def _judged(trial: Trial, what: Seen) -> Finding:
    finding = trial.judged(what)
    return trial.told(what, finding) if isinstance(what, Divergence) else finding
