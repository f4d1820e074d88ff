# SPDX-License-Identifier: GPL-2.0-only
"""Do two search processes do twice the work of one?  `mmufuzz run` with one job and with more, in turn.

    make compile
    .venv/bin/python -m benchmarks.scaling --pairs 5 --seconds 60 --json scaling.json

Each search has the same seconds, so what all processes have to find out for themselves weighs the same on both sides.
The clock needs an idle machine, which is one where each job had nearly all of a core.

What jobs share is the parent, which stores and shows.  Its processor time, beside that of the jobs, is told on any
machine, and so is the most that it leaves them: where there are as many cores as jobs, what it takes they do not have.
"""

import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import msgspec
import psutil  # type: ignore[import-untyped]

from reference_mmu.record import Record
from tests.cli.shell import COMMAND, environment, report_in
from tests.service.waiting import let_pass

_LOOK_SECONDS: Final = 0.25


class Measured(Record):
    """What a search did; `seconds` is by the clock, and processor time by who spent it."""

    jobs: int
    load: float
    """Before it began."""
    programs: int
    seconds: float
    parent_seconds: float
    jobs_seconds: float

    def line(self) -> str:
        return (
            f"  {self.jobs} jobs, load {self.load:.1f}: {self.programs} programs, "
            f"{self.programs / self.seconds:.0f}/s, {self.programs / self.jobs_seconds:.0f} per second of a job, "
            f"each had {self.jobs_seconds / self.jobs / self.seconds:.0%} of a core, "
            f"the parent {self.parent_share():.1%} of their time"
        )

    def parent_share(self) -> float:
        """Processor time of the parent for each second of the jobs."""
        return self.parent_seconds / self.jobs_seconds


class Pair(Record):
    """One job and more of them, one right after the other."""

    one: Measured
    more: Measured

    def by_clock(self) -> float:
        """How often the programs of one job."""
        return self.more.programs / self.more.seconds / (self.one.programs / self.one.seconds)

    def at_most(self) -> float:
        """The same as far as the parent goes, with as many cores as jobs."""
        return self.more.jobs / (1 + self.more.parent_share())


@click.command()
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(2), default=60, show_default=True, help="Of each search.")
@click.option("--jobs", type=click.IntRange(2), default=2, show_default=True)
@click.option("--profile", default="mixed", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was measured.")
def main(pairs: int, seconds: int, jobs: int, profile: str, json_file: Path | None) -> None:
    """Compare a search of several jobs with one of one."""
    print(f"profile {profile}, {seconds} s each, {os.cpu_count()} cores")
    measured = []
    for number in range(pairs):
        # Who begins alternates: what gets slower or faster meanwhile is on both sides.
        order = (1, jobs) if number % 2 == 0 else (jobs, 1)
        found = {count: measure(count, seconds, profile) for count in order}
        measured.append(Pair(found[1], found[jobs]))
        print(found[1].line(), found[jobs].line(), sep="\n", flush=True)
    print(spread(f"{jobs} jobs / 1 job by the clock", [pair.by_clock() for pair in measured]))
    print(spread("the parent allows", [pair.at_most() for pair in measured]))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")


def spread(name: str, ratios: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{name:<32} {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"


def measure(jobs: int, seconds: int, profile: str) -> Measured:
    """One search."""
    load = os.getloadavg()[0]
    words = f"run --seconds {seconds} --profile {profile} --seed 1 --jobs {jobs} --json report.json"
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as name:
        variables = environment() | {"MMUFUZZ_CORE": "compiled"}
        search = subprocess.Popen([*COMMAND, *words.split()], cwd=name, env=variables, stdout=subprocess.DEVNULL)
        parent, spent = psutil.Process(search.pid), dict[int, float]()
        while search.poll() is None:
            let_pass(_LOOK_SECONDS)
            with suppress(psutil.NoSuchProcess):  # it has ended since
                for process in (*parent.children(), parent):
                    spent[process.pid] = sum(process.cpu_times()[:2])
        if search.returncode not in (0, 1):  # 1: it has found a regression
            raise click.ClickException(f"the search ended with exit code {search.returncode}")
        report = report_in(Path(name))
    of_parent = spent.pop(search.pid)
    return Measured(jobs, load, report["programs"], report["seconds"], of_parent, sum(spent.values()))


if __name__ == "__main__":
    main()
