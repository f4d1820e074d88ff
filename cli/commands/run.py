# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz run`: search on this machine."""

import secrets
import time
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console

from cli.allowing import advice, allow_option, assessment, merely_saves, unannounced
from cli.change import Exercise, OwnChange, change_options, own_change
from cli.compilation import Compilation, Plan, planned
from cli.document import Document, check_directory, json_option
from cli.ending import Ending, words
from cli.interrupts import Interrupts
from cli.options import (
    out_option,
    processes_option,
    profile_option,
    searched_profile,
    seed_option,
    strategy_option,
)
from cli.order import Order, batch_size
from cli.parameters import SpecType, database_name, open_store, read_reproducer, require_superset
from cli.parts import name_parts
from cli.progress import Budget, Progress, finding_line, make_progress, rate_words, verdict_words
from cli.search import Search
from cli.second_look import SecondLook
from cli.summary import RunReport, first_reproducer, replay_command, reported, summary_lines, unminimized
from cli.tally import Tally
from cli.telling import print_telling
from db.campaigns import new_campaign
from db.schema import CampaignState
from db.session import DEFAULT_URL, StoreError
from db.store import Store
from fuzzer.compiled import use_compiled_core
from fuzzer.judge.finding import Verdict
from fuzzer.run.compare import Models
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import spelled_out
from fuzzer.tell.story import tell
from reference_mmu.changelog.semantics import OLD, Semantics
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse

JOBS_MAX: Final = 64
DEFAULT_SECONDS: Final = 60
_TICK_SECONDS: Final = 0.2
# Before so many programs nobody knows that a change breaks nothing.
_SAVES_AFTER_PROGRAMS: Final = 500
NOT_EXERCISED: Final = 4
"""Exit code where all programs passed the change by: it has not been tried."""


class Request(Record):
    """What to search, and where to put what is found."""

    order: Order
    budget: Budget
    database: str
    folder: Path
    profiles: str
    """Which profiles are searched, and why."""
    change: OwnChange | None = None
    until_regression: bool = False


@click.command()
@click.option(
    "--seconds", metavar="N", type=click.IntRange(1, 10**8), help=f"Stop after N seconds (default {DEFAULT_SECONDS})."
)
@click.option("--programs", metavar="N", type=click.IntRange(1, 10**12), help="Stop after N programs instead.")
@click.option("--until-regression", is_flag=True, help="Stop at the first one that is not known.")
@seed_option(default=None)
@processes_option("--jobs", JOBS_MAX)
@profile_option
@click.option("--old", type=SpecType(), help="Semantics to compare from (default: old; with --apply what --new is).")
@click.option("--new", type=SpecType(), default="new", show_default=True, help="Semantics to compare to.")
@strategy_option
@change_options
@allow_option
@click.option("--db", "database", metavar="URL", default=DEFAULT_URL, show_default=True, help="Findings database.")
@out_option("signature")
@json_option
def run(
    seconds: int | None,
    programs: int | None,
    until_regression: bool,
    seed: int | None,
    jobs: int,
    profile: str | None,
    arch: str | None,
    old: Semantics | None,
    new: Semantics,
    strategies: tuple[str, ...] | None,
    change: str | None,
    bases: tuple[str, ...],
    allowed: tuple[str, ...],
    database: str,
    folder: Path,
    document: Document,
) -> None:
    """Search for behaviour that differs between OLD and NEW.

    Each program and its interleaving are a function of the program's seed. What counts as the same finding depends
    on what a process has seen before, so a run is repeated exactly by giving --seed, --programs and --jobs.

    Without --profile and --arch the programs are of all profiles that reach what is compared: the architectures of the
    patches that differ, those of the files that a change touches. The second line tells which, and how many of each.

    \b
    Examples:
      mmufuzz run                           a minute on all cores
      mmufuzz run --programs 10000 --seed 1 --jobs 1
      mmufuzz run --old no-struct-page --new no-struct-page+age-elides-tlb-flush
      mmufuzz run --arch arm64 --seconds 600 --json result.json
      mmufuzz run --arch all --until-regression --seconds 3600
      mmufuzz run --profile mixed*3,arm64   three of four for x86, one for arm64
      mmufuzz run --apply my-change.patch   the model with your change to it
      mmufuzz run --base 0001.patch --base 0002.patch --apply 0003.patch
      git diff -- reference_mmu | mmufuzz run --apply - --allow fewer-flushes

    Ctrl-C stops and keeps everything found; a second one does not wait for the program in hand. When the time is over,
    what still waits to be judged or minimized is given some seconds more, and what may fail the search up to a minute.

    Exit codes: 0 nothing new breaks (a change that merely saves work breaks nothing), 1 a regression or an unexplained
    finding that is not known by name (docs/findings.md), 2 bad input, 4 no program came by the change of --apply, 130
    stopped by Ctrl-C.
    """
    if seconds is not None and programs is not None:
        raise BadInput("--seconds and --programs exclude each other; give the one that shall end the search")
    own = own_change(change, bases, allowed)
    old = old or (new if own else OLD)
    require_superset(old, new)
    reach = searched_profile(profile, arch, old, new, own.files() if own else ())
    order = Order(
        search=SearchSpec(
            old=old.spec(),
            new=new.spec(),
            profile=reach.profile,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            strategies=strategies,
        ),
        programs=programs or 0,
        batch_programs=batch_size(programs or 0, jobs),
        jobs=jobs,
        diff=own.diff if own else "",
        base=own.base if own else "",
        allowed=allowed,
    )
    check_directory(folder, "--out")
    budget = Budget(seconds or DEFAULT_SECONDS, programs or 0)
    request = Request(order, budget, database, folder, reach.words(), own, until_regression)
    raise click.exceptions.Exit(search_and_report(request, document))


def search_and_report(request: Request, document: Document) -> int:
    """Run the search and tell what came out; returns the exit code."""
    order, console = request.order, document.console()
    store = open_store(request.database)
    with refuse(OSError, what=f"--out {request.folder} cannot be made", advice="name another directory"):
        request.folder.mkdir(parents=True, exist_ok=True)
    search = order.search
    console.print(f"{search.old} against {search.new}, seed {search.seed}, jobs {order.jobs}")
    console.print(request.profiles)
    console.print(request.change.line() if request.change else f"core {use_compiled_core().reason}")
    started = time.monotonic()
    lost = f"the search has ended; reproducers found before are in {request.folder}"
    compiled_seconds = 0 if request.budget.programs else request.budget.seconds
    with (
        Interrupts() as interrupts,
        refuse(StoreError, OSError, advice=lost),
        planned(order.diff, order.base, compiled_seconds) as plan,
    ):
        if plan.line:
            console.print(plan.line)
        campaign = begin_campaign(store, request)
        tally = Tally(store, campaign, order, request.folder)
        failures, core = drive_search(request, plan, tally, make_progress(console, request.budget), interrupts)
        complete = not interrupts.received and not failures
        store.end_campaign(campaign, CampaignState.FINISHED if complete else CampaignState.STOPPED)
    if request.change and not interrupts.received:
        name_parts(tally, request.change, console)
    elapsed = time.monotonic() - started
    exercise = request.change.exercise(tally.ran) if request.change else Exercise()
    print_summary(console, tally, request, elapsed, exercise)
    if not tally.findings and not failures:
        console.print("no difference; search longer with --seconds, or compare other semantics (mmufuzz run --help)")
    for failure in failures:
        click.echo(f"mmufuzz: {failure}", err=True)
    document.write(make_report(tally, request, elapsed, core, exercise))
    failed = bool(failures) or (tally.has_new_failure() and not is_optimisation(tally, request))
    return interrupts.exit_code() or int(failed) or (NOT_EXERCISED if exercise.in_vain() else 0)


def is_optimisation(tally: Tally, request: Request) -> bool:
    """Is it a user's change that breaks nothing and has less done? Whether that is meant is for its author to say. A
    search that hardly began has not found out."""
    found = [tallied.finding for tallied in tally.findings.values()]
    return request.change is not None and tally.programs >= _SAVES_AFTER_PROGRAMS and merely_saves(found)


def begin_campaign(store: Store, request: Request) -> int:
    """Store what is searched, by budget of programs or of seconds."""
    search, budget = request.order.search, request.budget
    searched = new_campaign(
        search,
        name=f"run --seed {search.seed}{f' --apply {request.change.name}' if request.change else ''}",
        budget_seconds=None if budget.programs else float(budget.seconds),
        budget_programs=budget.programs or None,
    )
    return store.create_campaign(searched)


def drive_search(
    request: Request, plan: Plan, tally: Tally, progress: Progress, interrupts: Interrupts
) -> tuple[list[str], str]:
    """Search until the budget is spent or a signal comes; returns how processes failed, and what they ran."""
    look = SecondLook(request.change.models() if request.change else Models())
    core = "compiled" if use_compiled_core().compiled or plan.ready else "interpreted"
    started = time.monotonic()
    stop_at = float("inf") if request.order.programs else started + request.budget.seconds
    ending = Ending(stop_at)
    asked = 0
    search = Search(request.order, plan.ready, plan.packages)
    with search, Compilation(plan) as compilation, progress:
        while search.running():
            compiled = compilation.outcome()
            if compiled:
                progress.say(compiled.line)
                if compiled.core:
                    search.renew(compiled.core)
                    core = "interpreted, then compiled"
            for part in search.parts(_TICK_SECONDS):
                for tallied in tally.add(look.at(part)):
                    if tallied.finding.verdict is not Verdict.DOCUMENTED:
                        progress.say(finding_line(tallied))
            for doubt in look.doubts():
                progress.say(doubt)
                search.renew("")
            now = time.monotonic()
            progress.show(tally, now - started)
            decided = request.until_regression and tally.has_new_regression()
            while asked < ending.asked(now, len(interrupts.received), search.pressing(), decided=decided):
                asked += 1
                search.stop()
                line = words(asked, len(interrupts.received), search.pressing())
                if line:
                    progress.say(line)
            if ending.is_over(now, len(interrupts.received)):
                search.kill()
        tally.store_rest()
    return search.failures, core


def print_summary(console: Console, tally: Tally, request: Request, elapsed: float, exercise: Exercise) -> None:
    """What was found, by patch; what of the change was run; where it is; how to replay the first."""
    console.print()
    for line in summary_lines(tally):
        console.print(line)
    if tally.findings:
        console.print()
    console.print(f"{rate_words(tally, elapsed)}, {elapsed:.1f} s")
    console.print(verdict_words(tally.verdicts()))
    if exercise.line():
        console.print(exercise.line())
    if request.change:
        found = [tallied.finding for tallied in tally.findings.values()]
        for line in filter(None, (assessment(found), *advice(unannounced(found)))):
            console.print(line)
    console.print(f"database:   {database_name(request.database)}")
    if tally.findings:
        console.print(f"directory:  {request.folder}")
    whole = unminimized(tally)
    if whole:
        console.print(f"{whole} of the reproducers are whole programs: make one small with mmufuzz minimize FILE")
    first = first_reproducer(tally)
    if first is not None and request.change:
        console.print(f"\nthe smallest story of the first, {first}:\n")
        reproducer = read_reproducer(str(first), run_change=True)
        comparison = reproducer.comparison()
        print_telling(console, reproducer, comparison, tell(comparison, reproducer.scenario()).rows)
        console.print()
    if first is not None:
        console.print(f"replay the first with:  {replay_command(first)}{' --run-change' if request.change else ''}")


def make_report(tally: Tally, request: Request, elapsed: float, core: str, exercise: Exercise) -> RunReport:
    order = request.order
    return RunReport(
        **msgspec.structs.asdict(spelled_out(order.search)),
        programs=tally.programs,
        steps=tally.steps,
        seconds=round(elapsed, 3),
        core=core,
        verdicts=tally.verdicts(),
        findings=reported(tally),
        coverage=len(tally.coverage),
        jobs=order.jobs,
        campaign=tally.campaign,
        database=database_name(request.database),
        change=request.change.digest() if request.change else "",
        profiles=request.profiles,
        exercise=exercise,
    )
