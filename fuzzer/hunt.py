# SPDX-License-Identifier: GPL-2.0-only
"""The search itself: run one seed after the other, and remember what was found: judged, attributed, minimized.

A finding is judged when its *trace* (effect or invariant, operation, leader, MMU, and where the two began to differ) is
new, and again ever more seldom (`is_judged`), so that a second cause behind the same trace does not hide behind the
first.  What is judged, and when, stands in fuzzer/judge/docket.py; how much of the search that may take, in
fuzzer/run/effort.py.

A divergence is found as soon as it is judged, with the whole program as its reproducer; a small story comes later.  A
violation is minimized at once: where it races, which its signature tells, is known from its small story only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from fuzzer.found import Found, bare, cause_of, minimized
from fuzzer.judge.consequence import announced
from fuzzer.judge.docket import Case, Docket, grade_of, is_judged
from fuzzer.judge.finding import Finding, FoundFinding, Verdict, signature
from fuzzer.judge.seen import Breach, Trace, seen_in, trace_of
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import DEFAULT_BUDGET
from fuzzer.run.effort import Effort, effort_of
from fuzzer.seed_runner import Ground, SeedRunner


class Hunt:
    """A search over seeds. Deterministic: the same seeds in the same order give the same findings.

    `patience`: how much of the search judging may take, see Effort. With 0, each program is judged before the next one
    is run; else some wait, and settle() judges what still does in the end. Both find the same. `begins`: told each seed
    before anything is done with its program.
    """

    def __init__(
        self,
        runner: SeedRunner,
        budget: int = DEFAULT_BUDGET,
        patience: int = 0,
        begins: Callable[[int], object] = lambda seed: None,
    ) -> None:
        self.runner = runner
        self.begins = begins
        self.budget = budget
        self.ground = Ground()
        self.found: dict[str, Found] = {}
        self.traces: Counter[Trace] = Counter()
        self.grown: dict[str, int] = {}
        """Signatures whose count has grown, or whose story has become smaller, since somebody emptied this; and the
        first seed that was counted."""
        self.seed = 0
        """The seed of the program in hand."""
        self.effort = Effort(patience)
        self.docket = Docket()
        self._case_of: dict[Trace, Case] = {}
        self._in_hand: tuple[int, Trial] | None = None
        comparison = runner.by_leader["old"]
        allowed, _ = announced(tuple(comparison.new.patches - comparison.old.patches), comparison)
        self._allowed = allowed | comparison.models.allowed

    def one(self, seed: int) -> list[Found]:
        """Run the program of `seed` and judge what it shows, or may now be judged of others; returns the findings that
        are new."""
        self.take_up(seed)
        return self.judge(seed, self.run(seed))

    def take_up(self, seed: int) -> None:
        """The program of `seed` comes next."""
        self.seed = seed
        self.begins(seed)

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

    def run(self, seed: int) -> Trial:
        """Run the program of `seed`, and count it."""
        trial = self.runner.run(seed)
        self.ground.add(trial.outcome)
        return trial

    def file(self, seed: int, trial: Trial) -> None:
        """Count what the program of `seed` shows, and note what of it is to be judged."""
        for seen in seen_in(trial.outcome):
            trace = trace_of(trial.outcome, seen)
            self.traces[trace] += 1
            count = self.traces[trace]
            if not is_judged(trace.kind, count):
                self._count(self._case_of[trace], seed)
                continue
            case = Case(seed, seen, trace, count.bit_length() - 1, grade_of(seen, self._allowed))
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
        self.take_up(case.seed)
        if self._in_hand is None or self._in_hand[0] != case.seed:
            self._in_hand = case.seed, self.runner.run(case.seed)
            self.effort.judged += effort_of(self._in_hand[1].outcome)
        trial = self._in_hand[1]
        before = trial.effort()
        fresh = []
        if case.name:
            self.shorten(case, trial)
        else:
            found = self.keep(case, trial, trial.judged(case.seen))
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
        if isinstance(case.seen, Breach):
            found = minimized(trial, finding, self.budget, case.seed)
        else:
            found = bare(trial, trial.told(case.seen, finding), case.seed)
        self.effort.judged += found.effort
        found.count = 0
        return found

    def shorten(self, case: Case, trial: Trial) -> None:
        """Find the smallest story of a divergence that has been found; whoever has the Found has it then."""
        found = self.found[case.name]
        smaller = minimized(trial, found.finding, self.budget, case.seed)
        self.effort.judged += smaller.effort
        found.minimized = True
        if smaller.reproducer is not None:
            found.reproducer, found.executions, found.passes = smaller.reproducer, smaller.executions, smaller.passes
            found.operations, found.preemptions = smaller.operations, smaller.preemptions
        self.grown.setdefault(case.name, case.seed)

    def same_cause(self, finding: Finding) -> Found | None:
        """The finding that this one is taken for. A violation's racing points are those of its minimal story: until it
        is minimized, one with the same invariant, verdict and patches is the same bug."""
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
        """What was found, for the store."""
        return tuple(FoundFinding(f.finding, f.count, f.first_seed, f.reproducer) for f in self.found.values())
