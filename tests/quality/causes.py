# SPDX-License-Identifier: GPL-2.0-only
"""Does a search that judges few of its programs find every cause that judging all of them would?

    python -m tests.quality.causes --programs 100000                      OLD against NEW
    python -m tests.quality.causes --programs 20000 --apply my.patch      a change, interpreted

Runs the programs once and judges *all* that each of them shows.  Of the same programs, those that a search judges are
known by their traces alone; what they came out as is held against all.  Says how many signatures were missed, how often
each of these showed among all programs, and how many experiments either took.  Violations are told apart by cause,
since where they race is known from minimal stories only.  Exits with 1 if a missed one showed in more than one of
`--rare` programs (1 in 5 000), or if it was no documented one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fuzzer.compiled import use_compiled_core


class Told(NamedTuple):
    """One trace of one program, and what it was judged to be."""

    judged: bool
    """Would a search have judged it?"""
    cause: str
    verdict: str


class Compared(NamedTuple):
    """Programs by cause, of all and of those that a search judges; and the verdict of each cause."""

    all: Counter[str]
    judged: Counter[str]
    verdicts: dict[str, str]

    def missed(self) -> dict[str, int]:
        """Causes that the search does not find, with how many programs show them."""
        return {cause: count for cause, count in self.all.items() if cause not in self.judged}

    def bad(self, programs: int, rare: int) -> list[str]:
        """Missed ones that should not be: they are more than a tail, or more than a documented effect."""
        return [
            cause
            for cause, count in self.missed().items()
            if count * rare > programs or self.verdicts[cause] != "documented"
        ]


def compare(told: Iterator[Told]) -> Compared:
    """Add up."""
    compared = Compared(Counter(), Counter(), {})
    for one in told:
        compared.all[one.cause] += 1
        compared.judged[one.cause] += one.judged
        compared.verdicts[one.cause] = one.verdict
    return Compared(compared.all, +compared.judged, compared.verdicts)


def judge_all(old: str, new: str, programs: int, seed: int, diff: str = "", profile: str = "mixed") -> Iterator[Told]:
    """Judge everything that `programs` programs show."""
    # Only now, or these modules would be interpreted where there is a compiled core.
    from fuzzer.change.variant import changed_models
    from fuzzer.judge.docket import is_judged
    from fuzzer.judge.seen import Trace, seen_in, trace_of
    from fuzzer.program.profile import PROFILES
    from fuzzer.run.compare import Models
    from fuzzer.seed_runner import SeedRunner
    from fuzzer.sighting import cause_name
    from reference_mmu.changelog.semantics import parse_semantics

    models = changed_models(diff) if diff else Models()
    runner = SeedRunner(parse_semantics(old), parse_semantics(new), PROFILES[profile], models)
    traces: Counter[Trace] = Counter()
    for number in range(seed, seed + programs):
        trial = runner.run(number)
        for seen in seen_in(trial.outcome):
            trace = trace_of(trial.outcome, seen)
            traces[trace] += 1
            finding = trial.judged(seen)
            yield Told(is_judged(trace.kind, traces[trace]), cause_name(finding), str(finding.verdict))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", default="mixed")
    parser.add_argument("--rare", type=int, default=5000)
    parser.add_argument("--apply", type=Path, help="a diff of reference_mmu; NEW against NEW with it")
    wanted = parser.parse_args()
    diff = wanted.apply.read_text(encoding="utf-8") if wanted.apply else ""
    if diff:
        os.environ["MMUFUZZ_CORE"] = "interpreted"  # a changed model runs no other way
    core = use_compiled_core()
    print(f"core {core.reason}; {wanted.programs} programs")
    pair = ("new", "new") if diff else ("old", "new")
    compared = compare(judge_all(*pair, wanted.programs, wanted.seed, diff, wanted.profile))
    missed = compared.missed()
    print(f"{compared.all.total()} judged: {len(compared.all)} causes; {compared.judged.total()} of them as a search")
    print(f"does: {len(compared.judged)} causes, {len(missed)} missed")
    for cause, count in sorted(missed.items(), key=lambda item: -item[1]):
        print(f"  {count:5d} programs, {compared.verdicts[cause]}: {cause}")
    return int(bool(compared.bad(wanted.programs, wanted.rare)))


if __name__ == "__main__":
    sys.exit(main())
