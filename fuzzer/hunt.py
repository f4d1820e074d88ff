# SPDX-License-Identifier: GPL-2.0-only
"""The search itself: generate, schedule, execute both, judge, attribute, minimize, one seed after the other.

A finding is judged when its *trace* (effect or invariant, operation, leader, MMU, and where the two began to differ) is
new, and again ever more seldom (`is_judged`), so that a second cause behind the same trace does not hide behind the
first.  What is judged, and when, stands in fuzzer/judge/docket.py; how much of the search that may take, in
fuzzer/run/effort.py.

A divergence is found as soon as it is judged, with the whole program as its reproducer; a small story comes later.  A
violation is minimized at once: where it races, which its signature tells, is known from its small story only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from fuzzer.judge.attribute import Attributor
from fuzzer.judge.docket import Case, Docket, grade_of, is_judged
from fuzzer.judge.finding import Finding, FoundFinding, Verdict, signature
from fuzzer.judge.verdict import Trial, announced, consequence_of, operation_tag
from fuzzer.minimize.minimize import DEFAULT_BUDGET, Minimized, Minimizer, Replay, Shows
from fuzzer.program.generate import generate_script
from fuzzer.program.profile import Profile
from fuzzer.program.program import Program
from fuzzer.program.rng import stream
from fuzzer.program.script import Script
from fuzzer.reproducer import encode_reproducer, make_reproducer
from fuzzer.run.compare import Comparison, Models, Side, by_scheduler
from fuzzer.run.coverage import Coverage
from fuzzer.run.divergence import Divergence
from fuzzer.run.effort import Effort, effort_of
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedulers import STRATEGIES, draw_strategy
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.x86.points import NAMES


class Found(msgspec.Struct):
    """A signature as one search knows it. `reproducer` is the file's content, None if minimization lost the finding;
    `minimized` says that it is the smallest story, `operations` and `preemptions` how small it is. `effort`: what the
    story cost, in turns."""

    finding: Finding
    count: int
    first_seed: int
    reproducer: bytes | None
    operations: int = 0
    preemptions: int = 0
    executions: int = 0
    minimized: bool = True
    effort: int = 0


class Hunt:
    """A search over seeds. Deterministic: the same seeds in the same order give the same findings.

    Programs alternate who leads, so that windows which exist in only one of the models are explored in both.

    `patience`: how much of the search judging may take, see Effort. With 0, each program is judged before the next one
    is run; else some wait, and settle() judges what still does in the end. Both find the same.
    """

    def __init__(
        self,
        old: Semantics,
        new: Semantics,
        profile: Profile,
        models: Models | None = None,
        budget: int = DEFAULT_BUDGET,
        strategies: tuple[str, ...] = STRATEGIES,
        patience: int = 0,
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
        self.grown: dict[str, int] = {}
        """Signatures whose count has grown, or whose story has become smaller, since somebody emptied this; and the
        first seed that was counted."""
        self.seed = 0
        """Of the program in hand."""
        self.effort = Effort(patience)
        self.docket = Docket()
        self._case_of: dict[tuple[str, ...], Case] = {}
        self._in_hand: tuple[int, Trial] | None = None
        allowed = announced(tuple(new.patches - old.patches), self.by_leader[0])[0]
        self._allowed = allowed | models.allowed

    def one(self, seed: int) -> list[Found]:
        """Run the program of `seed` and judge what it shows, or may now be judged of others; returns the findings that
        are new."""
        self.seed = seed
        return self.judge(seed, self.run(seed))

    def judge(self, seed: int, trial: Trial) -> list[Found]:
        """Note what the program of `seed` shows, and judge what may be judged now; returns what is new."""
        self.effort.searched += effort_of(trial.outcome)
        self.file(seed, trial)
        self._in_hand = seed, trial
        fresh: list[Found] = []
        while self.docket and self.effort.allows():
            fresh += self.judge_next()
        self._in_hand = None  # or the collector would have to look at its machines, again and again
        return fresh

    def settle(self) -> Iterator[list[Found]]:
        """Judge what waits, step by step; yields the findings that are new."""
        while self.docket:
            yield self.judge_next()

    def script_of(self, seed: int) -> Script:
        """The program that belongs to a seed."""
        return generate_script(seed, self.profile)

    def program_of(self, seed: int) -> Program:
        """The same, written down."""
        return self.script_of(seed).program()

    def run(self, seed: int) -> Trial:
        """Run the program of `seed` on both models: a pure function of the seed, whatever has been run before."""
        trial = self.tried(seed)
        outcome = trial.outcome
        self.programs += 1
        self.steps += outcome.steps
        self.truncated += outcome.pair.truncated
        self.coverage.add(outcome.pair.turns)
        return trial

    def tried(self, seed: int) -> Trial:
        """run(), not counted."""
        script = self.script_of(seed)
        comparison = self.by_leader[seed % 2]
        drive = by_scheduler(draw_strategy(seed, self.strategies), stream(seed, "schedule"))
        return Trial(comparison, drive, comparison.run_script(script, drive))

    def file(self, seed: int, trial: Trial) -> None:
        """Count what the program of `seed` shows, and note what of it is to be judged."""
        for what in seen_in(trial):
            trace = trace_of(trial, what)
            self.traces[trace] += 1
            count = self.traces[trace]
            if not is_judged(kind_of(what), count):
                self._count(self._case_of[trace], seed)
                continue
            new_alone = isinstance(what, str) and what not in trial.outcome.violations("old")
            grade = grade_of(what, new_alone=new_alone, allowed=self._allowed)
            case = Case(seed, what, trace, count.bit_length() - 1, grade)
            self._case_of[trace] = case
            self.docket.file(case)

    def _count(self, case: Case, seed: int) -> None:
        """One more program that shows what a case does."""
        if case.name:
            self.found[case.name].count += 1
            self.grown.setdefault(case.name, seed)
        else:
            case.shown += 1

    def judge_next(self) -> list[Found]:
        """Judge the case that comes next, or tell its story; returns the finding if it is new."""
        case = self.docket.next()
        self.seed = case.seed
        if self._in_hand is None or self._in_hand[0] != case.seed:
            self._in_hand = case.seed, self.tried(case.seed)
            self.effort.judged += effort_of(self._in_hand[1].outcome)
        trial = self._in_hand[1]
        before = trial.effort()
        fresh = []
        if case.name:
            self.shorten(case, trial)
        else:
            found = self.keep(case, trial, judged(trial, case.what))
            if found.count == 0:
                fresh.append(found)
            found.count += case.shown
            self.grown[case.name] = min(case.seed, self.grown.get(case.name, case.seed))
        self.effort.judged += trial.effort() - before
        return fresh

    def keep(self, case: Case, trial: Trial, finding: Finding) -> Found:
        """The signature that a case shows, its program not counted yet: with a count of 0 if that is new."""
        known = self.found.get(signature(finding)) or self.same_cause(finding)
        if known is None or cause_of(known.finding) != cause_of(finding):
            offered = self.begin(case, trial, finding)
            known = self.found.setdefault(signature(offered.finding), offered)
            if known is offered and not offered.minimized:
                self.docket.tell(case, documented=finding.verdict == Verdict.DOCUMENTED)
        case.name = signature(known.finding)
        return known

    def begin(self, case: Case, trial: Trial, finding: Finding) -> Found:
        """What is found where no other case has the same cause: a violation minimized, a divergence as it is."""
        if isinstance(case.what, str):
            found = minimized(trial, finding, case.what, self.budget, case.seed)
        else:
            found = bare(trial, trial.told(case.what, finding), case.what, case.seed)
        self.effort.judged += found.effort
        found.count = 0
        return found

    def shorten(self, case: Case, trial: Trial) -> None:
        """Find the smallest story of a divergence that has been found; whoever has the Found has it then."""
        found = self.found[case.name]
        smaller = minimized(trial, found.finding, case.what, self.budget, case.seed)
        self.effort.judged += smaller.effort
        found.minimized = True
        if smaller.reproducer is not None:
            found.reproducer, found.executions = smaller.reproducer, smaller.executions
            found.operations, found.preemptions = smaller.operations, smaller.preemptions
        self.grown.setdefault(case.name, case.seed)

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


def kind_of(what: Divergence | str) -> str:
    """Of a finding: "divergence" or "violation"."""
    return "violation" if isinstance(what, str) else "divergence"


def trace_of(trial: Trial, what: Divergence | str) -> tuple[str, ...]:
    """What a finding looks like before anyone asked why; a divergence with the point at which the operation began to
    differ, or went on to when the two drifted apart."""
    script, outcome, leader = trial.script, trial.outcome, trial.comparison.leader
    mmu = script.config.mmu
    if isinstance(what, Divergence):
        turns, since = outcome.pair.turns, outcome.pair.since(what.uid)
        point = (NAMES[turns.point(since)] or "end") if since < len(turns) else "end-of-run"
        return (what.effect, operation_tag(script, what.uid), leader, mmu, script.config.paging, point)
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
    minimizer = Minimizer(trial.comparison, shower(trial, finding, what), budget)
    result = minimizer.minimize(trial.program, trial.outcome.turns)
    if result is None:
        return Found(finding, 1, seed, None, effort=minimizer.effort)
    if finding.kind == "violation":
        side = "new" if finding.side == "new" else "old"
        seen = result.outcome.violations(_side(side)).get(finding.what)
        if seen is None:
            seen = result.outcome.violations("new")[finding.what]
        finding = msgspec.structs.replace(finding, sites=trial.sites(seen))
    return found_in(trial, finding, result, seed)


def bare(trial: Trial, finding: Finding, what: Divergence | str, seed: int) -> Found:
    """A finding with its whole program as the reproducer, for as long as nobody has found a smaller story."""
    minimizer = Minimizer(trial.comparison, shower(trial, finding, what))
    result = minimizer.as_it_is(trial.program, trial.outcome.turns)
    if result is None:
        return Found(finding, 1, seed, None, minimized=False, effort=minimizer.effort)
    found = found_in(trial, finding, result, seed)
    found.minimized = False
    return found


def found_in(trial: Trial, finding: Finding, result: Minimized, seed: int) -> Found:
    """A finding with a story as its reproducer."""
    story = result.story
    reproducer = make_reproducer(trial.comparison, story, result.outcome, finding, result.complete)
    return Found(
        finding,
        1,
        seed,
        encode_reproducer(reproducer),
        story.program.operations(),
        len(story.switches),
        result.executions,
        effort=result.effort,
    )


def shower(trial: Trial, finding: Finding, what: Divergence | str) -> Shows:
    """Is it still the same finding?"""
    shows = shows_divergence if isinstance(what, Divergence) else shows_violation
    return lambda program, outcome, replay: shows(trial, finding, program, outcome, replay)


def shows_divergence(trial: Trial, finding: Finding, program: Program, outcome: Outcome, replay: Replay) -> bool:
    """The same effect of the same kind of operation, and from the attributed patches alone, too."""
    if not has_effect(finding, outcome):
        return False
    if not finding.patches:
        return True
    attributor: Attributor = trial.attributor
    varied = attributor.varied(attributor.close(finding.patches))
    # A user's change is often all that there is between the two.
    alone = outcome if varied == outcome.comparison else replay(varied)
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
