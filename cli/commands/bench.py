# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz bench`: how fast the search is, beside others that could have been written."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec
from rich.console import Console

import reference_mmu
from cli.bench.bugs import BY_NAME
from cli.bench.detection import Attempt, bug_times, overall, search_for_bugs
from cli.bench.planted import copies, planted_copy, ready_copy
from cli.bench.process import ArmProcess
from cli.bench.report import BenchReport, print_report
from cli.bench.runner import HUNT
from cli.bench.shares import Shares, stages
from cli.bench.speed import Runner, Sample, hunting, speeds, take_turns
from cli.document import Document, json_option
from cli.interrupts import Interrupts
from cli.options import FilledPath, number_option, seed_option
from fuzzer.compiled import use_compiled_core
from fuzzer.program.profile import PROFILES
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse

COMPILED: Final = "compiled"
INTERPRETED: Final = "interpreted"
HERE: Final = "this one"
THERE: Final = "the other"

# name -> (what drives the models, what that is)
ARMS: Final = {
    COMPILED: (HUNT, "mmufuzz as it is"),
    INTERPRETED: (HUNT, "mmufuzz without its compiled core"),
    "stateful": ("stateful", "Hypothesis, RuleBasedStateMachine"),
    "given": ("given_both", "Hypothesis, @given(program, schedule)"),
    "stateful-seeds": ("stateful_seeded", "the same state machine over mmufuzz's programs, drawn by seed"),
    "given-seeds": ("given_seeded", "@given(seeds) of mmufuzz's programs and schedules"),
}
OF_HYPOTHESIS: Final = ("stateful", "given", "stateful-seeds", "given-seeds")
GROUPS: Final = {
    **{name: (name,) for name in OF_HYPOTHESIS},
    "the best that draws program and schedule": ("stateful", "given"),
    "the best of all": OF_HYPOTHESIS,
}
# Those in which a change of the engine shows.
COMPARED: Final = ("mixed", "tdp", "shadow", "guest-tables", "harvest", "log", "aging")
AGAINST_PROGRAMS: Final = 500
PROFILE_PROGRAMS: Final = 2000

_Step = TypeVar("_Step")


class Request(Record):
    """What to measure."""

    repetitions: int
    seconds: float
    seeds: int
    limit: float
    bugs: tuple[str, ...]
    workload: str
    seed: int
    against: Path | None
    against_programs: int
    profile_programs: int


class Measured(msgspec.Struct):
    """What has been measured so far."""

    samples: list[Sample] = []
    attempts: list[Attempt] = []
    against: list[Sample] = []
    shares: Shares | None = None
    missing: list[str] = []
    complete: bool = False


@click.command()
@click.option(
    "--repetitions", metavar="N", type=click.IntRange(0, 1000), default=3, show_default=True, help="Of each speed."
)
@number_option("--seconds", "S", click.FloatRange(0.01, 3600), 1.0, "Processor time of each.")
@number_option(
    "--seeds",
    "N",
    click.IntRange(0, 10_000),
    2,
    "Searches of each arm for each planted bug; 30 for figures to rely on, 0 for none.",
)
@number_option(
    "--limit",
    "S",
    click.FloatRange(0.01, 3600),
    0.5,
    "Processor time after which a search that has not found its bug is cut off.",
)
@click.option(
    "--bug",
    "bugs",
    type=click.Choice(list(BY_NAME)),
    metavar="NAME",
    multiple=True,
    help="Search for this planted bug only; may be repeated (default: all ten).",
)
@click.option(
    "--workload",
    type=click.Choice(sorted(PROFILES)),
    metavar="NAME",
    default="mixed",
    show_default=True,
    help="Profile of the programs, as in 'mmufuzz run --profile'.",
)
@seed_option(default=0)
@click.option(
    "--against",
    type=FilledPath(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Another checkout to compare this one with, on the same programs.",
)
@click.option("--profile", "profiled", is_flag=True, help="Tell where the time goes instead, stage by stage.")
@click.option(
    "--programs",
    metavar="N",
    type=click.IntRange(1, 10**8),
    help=f"How many to look at: with --profile (default: {PROFILE_PROGRAMS}), or with --against of each workload "
    f"(default: {AGAINST_PROGRAMS}).",
)
@json_option
def bench(
    repetitions: int,
    seconds: float,
    seeds: int,
    limit: float,
    bugs: tuple[str, ...],
    workload: str,
    seed: int,
    against: Path | None,
    profiled: bool,
    programs: int | None,
    document: Document,
) -> None:
    """Measure the search, side by side with what could be written with Hypothesis.

    All arms run the same models, lockstep, oracles and comparison, on one core, taking turns; only ratios between
    arms of one run mean anything, since machines and what else they do differ. Two things are measured: steps,
    programs and pairs of runs per second of processor time, and the processor time until each of ten planted bugs is
    found. A bug is found when one side breaks an invariant that the other one keeps, for every arm alike, without
    judging or shrinking what was found. A search that is cut off counts with its time and as no detection.

    Hypothesis is there in two forms, a state machine and @given(program, schedule), each with strategies that draw
    everything, and each with mmufuzz's own generator of which it draws the seeds.

    The first run compiles a core with the planted bugs (a minute or two; kept in build/bench). Hypothesis comes with
    pip install 'mmufuzz[bench]'.

    \b
    Examples:
      mmufuzz bench                               a minute: roughly how it is
      mmufuzz bench --seeds 30 --limit 10 --json bench.json    hours: figures
      mmufuzz bench --seeds 0 --against ../before       faster than that one?
      mmufuzz bench --profile                           where the time goes
      mmufuzz bench --repetitions 0 --bug notifier-without-flush --seeds 10

    Ctrl-C ends it after the measurement in hand, and reports what there is.

    Exit codes: 0 measured, 2 bad input, 130 stopped by Ctrl-C.
    """
    console = document.console()
    if against is not None and not is_checkout(against):
        raise BadInput(f"--against {against} is no checkout: it lacks the packages fuzzer and reference_mmu")
    request = Request(
        repetitions=repetitions,
        seconds=seconds,
        seeds=seeds,
        limit=limit,
        bugs=bugs or tuple(BY_NAME),
        workload=workload,
        seed=seed,
        against=against,
        against_programs=programs or AGAINST_PROGRAMS,
        profile_programs=(programs or PROFILE_PROGRAMS) if profiled else 0,
    )
    measured = Measured()
    with Interrupts() as interrupts:
        console.print("measuring; Ctrl-C ends it early and reports what there is")
        console.file.flush()
        with console.status("starting") as status:
            for step in steps(request, measured, console):
                status.update(step)
                if interrupts.received:
                    break
        measured.complete = not interrupts.received
    report = report_of(request, measured)
    print_report(console, report)
    document.write(report)
    click.get_current_context().exit(interrupts.exit_code())


def steps(request: Request, measured: Measured, console: Console) -> Iterator[str]:
    """Measure one thing after the other into `measured`; yields in words what comes next. Raises BadInput."""
    if request.profile_programs:
        for shares in stages(request.profile_programs, request.seed, request.workload):
            measured.shares = shares
            yield f"{shares.programs} of {request.profile_programs} programs"
        return
    if request.against is not None:
        yield from compare(request, request.against, measured)
    arms = dict(available(measured))
    if request.repetitions:
        yield from measure_speed(request, arms, measured)
    if request.seeds:
        copy = ready_copy(copies())
        if not copy.is_dir():
            console.print("making the copy of the model that has the planted bugs, once: a minute or two")
            yield "compiling"
        with refuse(OSError, what=f"cannot write {copies()}", advice="make room, or give --seeds 0"):
            copies().mkdir(parents=True, exist_ok=True)
            copy = planted_copy(copies())
        searching = {name: ARMS[name][0] for name in arms if name != INTERPRETED or COMPILED not in arms}
        bugs = [BY_NAME[name] for name in request.bugs]
        total = len(searching) * request.seeds * len(bugs)
        for attempt in search_for_bugs(
            copy, bugs, searching, request.seeds, request.seed, request.limit, request.workload
        ):
            measured.attempts.append(attempt)
            yield f"{attempt.bug}, {attempt.name} ({len(measured.attempts)} of {total} searches)"


def available(measured: Measured) -> Iterator[tuple[str, dict[str, str]]]:
    """The arms that can run here, each with the environment it needs; notes why others cannot."""
    if use_compiled_core().compiled:
        yield COMPILED, {"MMUFUZZ_CORE": "compiled"}
    else:
        measured.missing.append(f"no compiled arm: {use_compiled_core().reason}")
    yield INTERPRETED, {"MMUFUZZ_CORE": "interpreted"}
    if find_spec("hypothesis") is None:
        measured.missing.append("no Hypothesis: pip install 'mmufuzz[bench]' adds its arms")
        return
    for name in OF_HYPOTHESIS:
        yield name, {}


def measure_speed(request: Request, arms: Mapping[str, dict[str, str]], measured: Measured) -> Iterator[str]:
    with ExitStack() as stack:
        runners = {}
        for name, variables in arms.items():
            yield f"starting {name}"
            runners[name] = Runner(stack.enter_context(ArmProcess(own_directory(), variables)), ARMS[name][0])
        total = len(runners) * request.repetitions
        for sample in take_turns(
            runners, (request.workload,), request.repetitions, request.seed, seconds=request.seconds
        ):
            measured.samples.append(sample)
            yield f"speed ({len(measured.samples)} of {total} measurements)"


def compare(request: Request, against: Path, measured: Measured) -> Iterator[str]:
    """This checkout and another one, by the search alone."""
    with ArmProcess(own_directory()) as here, ArmProcess(against) as there:
        if here.compiled != there.compiled:
            lacking = against if here.compiled else own_directory()
            raise BadInput(f"only one of the two is compiled: run 'python -m fuzzer.compiled' in {lacking}")
        total = 2 * len(COMPARED) * request.repetitions
        for sample in take_turns(
            {HERE: hunting(here), THERE: hunting(there)},
            COMPARED,
            request.repetitions,
            request.seed,
            programs=request.against_programs,
        ):
            measured.against.append(sample)
            yield f"{sample.workload} in both checkouts ({len(measured.against)} of {total} measurements)"


def is_checkout(folder: Path) -> bool:
    """Does it look like one?"""
    return all((folder / package / "__init__.py").exists() for package in ("fuzzer", "reference_mmu"))


def own_directory() -> Path:
    """Where the packages are that this process runs."""
    return Path(reference_mmu.__path__[0]).resolve().parent


def report_of(request: Request, measured: Measured) -> BenchReport:
    first = COMPILED if use_compiled_core().compiled else INTERPRETED
    bugs = bug_times(measured.attempts, first)
    against = [speed for speed in speeds(measured.against, THERE) if speed.name == HERE]
    return BenchReport(
        core=use_compiled_core().reason,
        first=first,
        workload=request.workload,
        seed=request.seed,
        seconds=request.seconds,
        limit=request.limit,
        seeds=request.seeds,
        arms={name: about for name, (_, about) in ARMS.items()},
        speed=tuple(speeds(measured.samples, first)),
        bugs=tuple(bugs),
        overall=tuple(overall(bugs, GROUPS)),
        against=tuple(against),
        against_programs=request.against_programs,
        shares=measured.shares,
        missing=tuple(measured.missing),
        interrupted=not measured.complete,
    )
