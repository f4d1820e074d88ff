# SPDX-License-Identifier: GPL-2.0-only
"""Is this checkout faster than another one? The engine by profile, and a whole `mmufuzz run` of each.

    .venv/bin/python -m benchmarks.checkouts . ../before --repetitions 9

Both are compiled first, take turns on one core and run the same seeds. Told are medians of paired ratios, with the
lowest and the highest. Two whole searches of as many seconds do not come equally far, so theirs are programs per
second: of the clock, which is what a user waits for, and of processor time, which other work on the machine moves less.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from cli.bench.process import ArmProcess
from cli.bench.speed import hunting, speeds, take_turns
from cli.bench.spread import ratios
from cli.commands.bench import COMPARED

HERE = "here"
THERE = "there"


class Run(NamedTuple):
    """What a `mmufuzz run` did."""

    programs: int
    clock_seconds: float
    processor_seconds: float


@click.command()
@click.argument("here", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("there", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True)
@click.option("--programs", type=click.IntRange(1), default=1000, show_default=True, help="Of each measurement.")
@click.option("--run-seconds", type=click.IntRange(0), default=30, show_default=True, help="Of each run; 0: none.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each checkout.")
@click.option("--profile", "profiles", multiple=True, default=COMPARED, help="Only this one.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def main(
    here: Path,
    there: Path,
    repetitions: int,
    programs: int,
    run_seconds: int,
    runs: int,
    profiles: tuple[str, ...],
    seed: int,
) -> None:
    """Compare HERE with THERE: ratios above 1 say that HERE is faster."""
    for folder in (here, there):
        compile_core(folder)
    with ArmProcess(here) as one, ArmProcess(there) as other:
        both = {HERE: hunting(one), THERE: hunting(other)}
        samples = list(take_turns(both, profiles, repetitions, seed, programs=programs))
    print(f"{repetitions} repetitions of {programs} programs, steps per second of processor time, here / there")
    for speed in speeds(samples, THERE):
        if speed.name == HERE:
            print(f"  {speed.workload:<13} {speed.ratio.words()}   here {speed.steps_per_second.median:,.0f}/s")
    if run_seconds:
        measured = take_turns_running(here, there, runs, run_seconds, seed)
        print(f"mmufuzz run --seconds {run_seconds} --jobs 1, {runs} times each, programs per second, here / there")
        print(f"  of the clock     {rate_ratio(measured, lambda run: run.clock_seconds)}")
        print(f"  of the processor {rate_ratio(measured, lambda run: run.processor_seconds)}")


def rate_ratio(measured: dict[str, list[Run]], seconds: Callable[[Run], float]) -> str:
    """Programs per second, paired."""
    here, there = ([run.programs / seconds(run) for run in measured[name]] for name in (HERE, THERE))
    return ratios(here, there).words()


def take_turns_running(here: Path, there: Path, runs: int, seconds: int, seed: int) -> dict[str, list[Run]]:
    """Whole searches, by turns."""
    measured: dict[str, list[Run]] = {HERE: [], THERE: []}
    folders = [(HERE, here), (THERE, there)]
    for number in range(runs):
        for name, folder in folders if number % 2 else folders[::-1]:
            measured[name].append(run_search(folder, seconds, seed + number))
    return measured


def run_search(checkout: Path, seconds: int, seed: int) -> Run:
    """`mmufuzz run` of a checkout, start and end included."""
    words = f"run --seconds {seconds} --jobs 1 --seed {seed} --json report.json".split()
    began, cpu = time.monotonic(), children_seconds()
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as folder:
        variables = os.environ | {"PYTHONPATH": str(checkout.resolve()), "MMUFUZZ_CORE": "compiled"}
        # An exit code of 1 says that something was found.
        run = subprocess.run(
            [sys.executable, "-m", "cli.main", *words], cwd=folder, env=variables, capture_output=True, text=True
        )
        if run.returncode not in (0, 1):
            raise SystemExit(f"{checkout}: {run.stderr.strip()}")
        programs = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))["programs"]
    return Run(programs, time.monotonic() - began, children_seconds() - cpu)


def compile_core(checkout: Path) -> None:
    """Nothing to do if it has been compiled as it is."""
    variables = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    subprocess.run([sys.executable, "-m", "fuzzer.compiled"], cwd=checkout, env=variables, check=True)


def children_seconds() -> float:
    """Processor time of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
