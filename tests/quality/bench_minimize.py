# SPDX-License-Identifier: GPL-2.0-only
"""How small stories get, and what that costs.

    python -m tests.quality.bench_minimize                  every profile, 600 programs each, interpreted
    python -m tests.quality.bench_minimize 100 --worst 20   fewer programs, and the longest stories

One line per measure over all findings, each minimized for the first time.  Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import sys
import time

from fuzzer.found import Found
from fuzzer.hunt import Hunt
from fuzzer.judge.docket import Case
from fuzzer.judge.finding import Finding
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import PassCount
from fuzzer.program.profile import PROFILES
from fuzzer.reproducer import decode_reproducer
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.record import Record


class Row(Record):
    """One minimization."""

    what: str
    profile: str
    seed: int
    operations: int
    switches: int
    executions: int
    seconds: float
    complete: bool
    passes: tuple[PassCount, ...]


class TimedHunt(Hunt):
    """A search that notes what each first finding cost to minimize."""

    def __init__(self, profile: str) -> None:
        super().__init__(SeedRunner(OLD, NEW, PROFILES[profile]))
        self.rows: list[Row] = []

    def begin(self, case: Case, trial: Trial, finding: Finding) -> Found:
        start = time.process_time()
        found = super().begin(case, trial, finding)
        self.note(found, time.process_time() - start)
        return found

    def shorten(self, case: Case, trial: Trial) -> None:
        start = time.process_time()
        super().shorten(case, trial)
        self.note(self.found[case.name], time.process_time() - start)

    def note(self, found: Found, seconds: float) -> None:
        if found.minimized and found.reproducer is not None:
            complete = decode_reproducer(found.reproducer).complete
            size = found.operations, found.preemptions, found.executions
            row = Row(
                found.finding.what, self.runner.profile.name, found.first_seed, *size, seconds, complete, found.passes
            )
            self.rows.append(row)


def by_pass(rows: list[Row]) -> list[PassCount]:
    """What the passes cost and gained in all rows together."""
    names = dict.fromkeys(one.name for row in rows for one in row.passes)
    together = {name: [one for row in rows for one in row.passes if one.name == name] for name in names}
    return [
        PassCount(name, sum(one.calls for one in all_of), sum(one.shrinks for one in all_of))
        for name, all_of in together.items()
    ]


def line(name: str, values: list[float]) -> str:
    """Mean and percentiles."""
    ordered = sorted(values)
    ranks = [ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] for percent in (50, 90, 95, 99, 100)]
    return f"{name:12}" + "".join(f"{value:9.2f}" for value in (sum(values) / len(values), *ranks))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench_minimize", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("programs", nargs="?", type=int, default=600, help="per profile (default: 600)")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="list the N longest stories, too")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for profile in PROFILES:
        hunt = TimedHunt(profile)
        for seed in range(options.programs):
            hunt.one(seed)
        rows.extend(hunt.rows)
    if not rows:
        print("bench_minimize: no findings in so few programs", file=sys.stderr)
        return 2
    print(f"{len(rows)} findings" + "     mean      50%      90%      95%      99%      max".rjust(54))
    for name in ("operations", "switches", "executions", "seconds"):
        print(line(name, [float(getattr(row, name)) for row in rows]))
    print(f"more than 6 operations: {sum(row.operations > 6 for row in rows)}, ", end="")
    print(f"more than 4 switches: {sum(row.switches > 4 for row in rows)}, ", end="")
    print(f"ended by the budget: {sum(not row.complete for row in rows)}")
    for counted in by_pass(rows):
        print(f"{counted.name:24}{counted.calls:8} runs {counted.shrinks:7} smaller")
    for row in sorted(rows, key=lambda row: (-row.switches, -row.operations))[: options.worst]:
        print(f"{row.operations:3} {row.switches:3} {row.executions:5} {row.seconds:7.2f} s  {row.profile} ", end="")
        print(f"{row.seed}: {row.what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
