# SPDX-License-Identifier: GPL-2.0-only
"""A search in pieces that need not know of each other: run programs and note what they show; judge one; minimize one.

Each piece is a pure function of semantics, profile and seed, so anybody may do it again.  What a Hunt remembers between
programs, namely which traces have been judged and which causes have been minimized, is left to whoever puts the pieces
together; `is_judged` (in fuzzer/judge/docket.py) and `cause_name` are its rules.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fuzzer.found import Found, cause_of, minimized
from fuzzer.judge.finding import Finding, Seed, signature
from fuzzer.judge.seen import Seen, Trace, seen_in, trace_of
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import DEFAULT_BUDGET
from fuzzer.run.divergence import Divergence
from fuzzer.seed_runner import Ground, SeedRunner
from reference_mmu.record import Record


class Sighting(Record, forbid_unknown_fields=True):
    """The programs of a batch that showed a trace, in the order in which they ran."""

    trace: Trace
    seeds: tuple[Seed, ...]


class LostSight(RuntimeError):
    """The program does not show the trace: another model, semantics or profile than those that saw it."""


class Gathering:
    """What programs show, trace by trace, as they run."""

    def __init__(self, runner: SeedRunner) -> None:
        self._runner = runner
        self._seeds: dict[Trace, list[int]] = {}
        self.ground = Ground()

    def run(self, seed: int) -> tuple[Trace, ...]:
        """Run the program of `seed`; the traces that no program before it has shown."""
        outcome = self._runner.run(seed).outcome
        self.ground.add(outcome)
        fresh = []
        for seen in seen_in(outcome):
            trace = trace_of(outcome, seen)
            if trace not in self._seeds:
                fresh.append(trace)
            self._seeds.setdefault(trace, []).append(seed)
        return tuple(fresh)

    def sightings(self) -> tuple[Sighting, ...]:
        """Everything, in the order in which it first showed."""
        return tuple(Sighting(trace, tuple(seeds)) for trace, seeds in self._seeds.items())


def judge_sightings(runner: SeedRunner, seed: int, traces: Iterable[Trace]) -> list[Finding]:
    """What causes what the program of `seed` shows, trace by trace, not minimized.  Raises LostSight.

    Together, because the traces of one program share most of the experiments.
    """
    trial = runner.run(seed)
    return [trial.judged(seen_again(trial, trace)) for trace in traces]


def minimize_sighting(
    runner: SeedRunner, seed: int, trace: Trace, finding: Finding, budget: int = DEFAULT_BUDGET
) -> Found:
    """The smallest story of a finding that `judge_sightings` made of the same seed and trace.  Raises LostSight."""
    trial = runner.run(seed)
    seen = seen_again(trial, trace)
    if isinstance(seen, Divergence):
        finding = trial.told(seen, finding)
    return minimized(trial, finding, budget, seed)


def seen_again(trial: Trial, trace: Trace) -> Seen:
    """What of a program it was that left the trace.  Raises LostSight."""
    for seen in seen_in(trial.outcome):
        if trace_of(trial.outcome, seen) == trace:
            return seen
    raise LostSight(f"the program does not show {trace.key()}")


def cause_name(finding: Finding) -> str:
    """A name that two judged findings share if only one of them need be minimized. Divergences share it with their
    signature, which minimization does not change; violations share it with their cause, since theirs does change."""
    parts = [*cause_of(finding), signature(finding) if finding.kind == "divergence" else ""]
    return msgspec.json.encode(parts).decode()
