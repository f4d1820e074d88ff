# SPDX-License-Identifier: GPL-2.0-only
"""The search itself: generate, schedule, execute both, judge, attribute, minimize, one seed after the other.

A finding is judged and minimized when its *trace* (effect or invariant, operation, leader, MMU) is new, and again at
every power of two of its count, so that a second cause behind the same trace does not hide behind the first.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from fuzzer.attribute import Attributor
from fuzzer.compare import Comparison, Models, Side, by_scheduler
from fuzzer.coverage import Coverage
from fuzzer.divergence import Divergence
from fuzzer.finding import Finding, FoundFinding, Verdict, signature
from fuzzer.generate import generate_script
from fuzzer.minimize import DEFAULT_BUDGET, Minimizer, Replay
from fuzzer.outcome import Outcome
from fuzzer.profile import Profile
from fuzzer.program import Program
from fuzzer.reproducer import encode_reproducer, make_reproducer
from fuzzer.schedulers import STRATEGIES, draw_strategy
from fuzzer.script import Script
from fuzzer.verdict import Trial, consequence_of, operation_tag
from reference_mmu.semantics import Semantics

_DISTINCT_SEEDS: Final = 0x9E3779B1  # keeps the scheduler's stream apart from the generator's


class Found(msgspec.Struct):
    """A signature as one search knows it. `reproducer` is the file's content, None if minimization lost the finding."""

    finding: Finding
    count: int
    first_seed: int
    reproducer: bytes | None
    operations: int = 0
    preemptions: int = 0
    executions: int = 0


class Hunt:
    """A search over seeds. Deterministic: the same seeds in the same order give the same findings.

    Programs alternate who leads, so that windows which exist in only one of the models are explored in both.
    """

    def __init__(
        self,
        old: Semantics,
        new: Semantics,
        profile: Profile,
        models: Models | None = None,
        budget: int = DEFAULT_BUDGET,
        strategies: tuple[str, ...] = STRATEGIES,
    ) -> None:
        models = models or Models()
        self.by_leader: tuple[Comparison, Comparison] = (
            Comparison(old, new, "old", models),
            Comparison(old, new, "new", models),
        )
        self.profile = profile
        self.budget = budget
        self.strategies = strategies
        self.programs = 0
        self.steps = 0
        self.truncated = 0
        self.coverage = Coverage()
        self.found: dict[str, Found] = {}
        self.traces: Counter[tuple[str, ...]] = Counter()
        self.signature_of: dict[tuple[str, ...], str] = {}

    def one(self, seed: int) -> list[Found]:
        """Run the program of `seed` and judge what it shows; returns the findings that are new."""
        return self.judge(seed, self.run(seed))

    def script_of(self, seed: int) -> Script:
        """The program that belongs to a seed."""
        return generate_script(seed, self.profile)

    def program_of(self, seed: int) -> Program:
        """The same, written down."""
        return self.script_of(seed).program()

    def run(self, seed: int) -> Trial:
        """Run the program of `seed` on both models: a pure function of the seed, whatever has been run before."""
        script = self.script_of(seed)
        comparison = self.by_leader[seed % 2]
        drive = by_scheduler(draw_strategy(seed, self.strategies), seed ^ _DISTINCT_SEEDS)
        outcome = comparison.run_script(script, drive)
        self.programs += 1
        self.steps += outcome.steps
        self.truncated += outcome.pair.truncated
        self.coverage.add(outcome.pair.turns)
        return Trial(comparison, drive, outcome)

    def judge(self, seed: int, trial: Trial) -> list[Found]:
        fresh: list[Found] = []
        for what in seen_in(trial):
            trace = trace_of(trial, what)
            self.traces[trace] += 1
            count = self.traces[trace]
            if count & (count - 1):
                self.found[self.signature_of[trace]].count += 1
                continue
            finding = judged(trial, what)
            found = self.keep(seed, trial, finding, what)
            self.signature_of[trace] = signature(found.finding)
            if found.count == 1:
                fresh.append(found)
        return fresh

    def keep(self, seed: int, trial: Trial, finding: Finding, what: Divergence | str) -> Found:
        """Count a judged finding; if its signature is new, minimize it first."""
        known = self.found.get(signature(finding)) or self.same_cause(finding)
        if known is not None and cause_of(known.finding) == cause_of(finding):
            known.count += 1
            return known
        found = minimized(trial, finding, what, self.budget, seed)
        again = self.found.get(signature(found.finding))
        if again is not None:
            again.count += 1
            return again
        self.found[signature(found.finding)] = found
        return found

    def same_cause(self, finding: Finding) -> Found | None:
        """A violation's racing points are those of its minimal story: until it is minimized, one with the same
        invariant, verdict and patches is taken for the same bug."""
        if finding.kind != "violation":
            return None
        for found in self.found.values():
            if cause_of(found.finding) == cause_of(finding):
                return found
        return None

    def verdicts(self) -> dict[str, int]:
        """How many signatures of each verdict."""
        counts = Counter(str(found.finding.verdict) for found in self.found.values())
        return {str(verdict): counts.get(str(verdict), 0) for verdict in Verdict}

    def results(self) -> tuple[FoundFinding, ...]:
        """For the store."""
        return tuple(FoundFinding(f.finding, f.count, f.first_seed, f.reproducer) for f in self.found.values())


def seen_in(trial: Trial) -> list[Divergence | str]:
    """What a program shows: divergences, one per effect and kind of operation, and broken invariants."""
    outcome = trial.outcome
    if not (outcome.divergences or outcome.violations("old") or outcome.violations("new")):
        return []
    seen: list[Divergence | str] = [*first_of_each(trial.script, outcome.divergences)]
    seen.extend(sorted({*outcome.violations("old"), *outcome.violations("new")}))
    return seen


def trace_of(trial: Trial, what: Divergence | str) -> tuple[str, ...]:
    """What a finding looks like before anyone asked why."""
    script, outcome, leader = trial.script, trial.outcome, trial.comparison.leader
    mmu = script.config.mmu
    if isinstance(what, Divergence):
        return (what.effect, operation_tag(script, what.uid), leader, mmu, script.config.paging)
    sides = "".join(side for side in ("old", "new") if what in outcome.violations(_side(side)))
    return (what, sides, leader, mmu)


def judged(trial: Trial, what: Divergence | str) -> Finding:
    """What causes it, and whether that is allowed."""
    return trial.divergence(what) if isinstance(what, Divergence) else trial.violation(what)


def first_of_each(script: Script, found: list[Divergence]) -> list[Divergence]:
    """One divergence per effect and kind of operation."""
    first: dict[tuple[str, str], Divergence] = {}
    for divergence in found:
        first.setdefault((divergence.effect, operation_tag(script, divergence.uid)), divergence)
    return list(first.values())


def _side(name: str) -> Side:
    return "old" if name == "old" else "new"


def cause_of(finding: Finding) -> tuple[object, ...]:
    """Findings of one cause are the same bug before minimization has told where it races."""
    return finding.kind, finding.what, finding.side, finding.verdict, finding.patches, finding.direction


def minimized(trial: Trial, finding: Finding, what: Divergence | str, budget: int, seed: int) -> Found:
    """The smallest story of a finding as a reproducer, and the finding as that story shows it."""
    shows = shows_divergence if isinstance(what, Divergence) else shows_violation

    def still(program: Program, outcome: Outcome, replay: Replay) -> bool:
        return shows(trial, finding, program, outcome, replay)

    result = Minimizer(trial.comparison, still, budget).minimize(trial.program, trial.outcome.turns)
    if result is None:
        return Found(finding, 1, seed, None)
    story = result.story
    if finding.kind == "violation":
        side = "new" if finding.side == "new" else "old"
        seen = result.outcome.violations(_side(side)).get(finding.what)
        if seen is None:
            seen = result.outcome.violations("new")[finding.what]
        finding = msgspec.structs.replace(finding, sites=trial.sites(seen))
    reproducer = make_reproducer(trial.comparison, story, result.outcome, finding, result.complete)
    return Found(
        finding,
        1,
        seed,
        encode_reproducer(reproducer),
        story.program.operations(),
        len(story.switches),
        result.executions,
    )


def shows_divergence(trial: Trial, finding: Finding, program: Program, outcome: Outcome, replay: Replay) -> bool:
    """The same effect of the same kind of operation, and from the attributed patches alone, too."""
    if not has_effect(finding, outcome):
        return False
    if not finding.patches:
        return True
    attributor: Attributor = trial.attributor
    alone = replay(attributor.varied(attributor.close(finding.patches)))
    if not has_effect(finding, alone):
        return False
    return not finding.after or bool(consequence_of(finding.what, finding.patches, alone))


def has_effect(finding: Finding, outcome: Outcome) -> bool:
    tag, script = finding.sites[0], outcome.pair.script
    return any(d.effect == finding.what and tag in ("-", operation_tag(script, d.uid)) for d in outcome.divergences)


def shows_violation(trial: Trial, finding: Finding, program: Program, outcome: Outcome, replay: Replay) -> bool:
    """The invariant breaks on the same side, and on that side only if it did so."""
    old = finding.what in outcome.violations("old")
    new = finding.what in outcome.violations("new")
    if finding.side == "both":
        return old or new
    return old != new and (old if finding.side == "old" else new)
