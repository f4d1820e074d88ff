# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz campaign`: searches that workers on many machines run together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import click
import msgspec
from rich.table import Table

from cli.document import Document, json_option
from cli.options import profile_option, searched_profile, seed_option, strategy_option
from cli.parameters import SpecType, open_engine
from cli.progress import spaced
from db.fleets import Counts, Fleets, FleetStatus
from db.session import DEFAULT_URL, StoreError
from db.tasks import AsideTask, Tasks
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import spelled_out
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.record import Record
from workers.launch import (
    BATCH_PROGRAMS,
    BATCH_PROGRAMS_MAX,
    MEMORY_MIB_MAX,
    MEMORY_MIB_MIN,
    PROGRAMS_MAX,
    SECONDS_MAX,
    SLOTS_MAX,
    TASK_SECONDS_MAX,
    BadWish,
    Wish,
    prepared,
)
from workers.refusal import refuse
from workers.waiting import waiting_words

_ADVICE: Final = "'mmufuzz campaign list' shows the campaigns"
_DATABASE: Final = click.option(
    "--db",
    "database",
    metavar="URL",
    envvar="MMUFUZZ_DATABASE",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="Database of the workers.",
)
_NUMBER: Final = click.argument("number", type=click.IntRange(1, 2**63 - 1))


class CampaignReport(SearchSpec, kw_only=True):
    """One campaign in the JSON of `campaign`: its search, spelled out, and how far it is."""

    campaign: int
    name: str
    state: str
    model: str
    created_at: datetime
    budget_programs: int | None
    budget_seconds: float | None
    until_regression: bool
    batch_programs: int
    slots_max: int | None
    task_seconds: int | None
    memory_mib: int | None
    seconds: float
    batches: int
    programs: int
    steps: int
    findings: int
    failures: int
    unjudged: int
    redeliveries: int
    open: int
    aside: tuple[AsideTask, ...]
    """Tasks that were set aside; told by `campaign show` only."""
    slots: int


class CampaignsReport(Record):
    """The JSON of `campaign list`."""

    campaigns: tuple[CampaignReport, ...]


@click.group()
def campaign() -> None:
    """Create, watch and steer searches that workers ('mmufuzz worker') run.

    \b
    Examples:
      mmufuzz campaign create --programs 1000000 --profile tdp
      mmufuzz campaign show 1
      mmufuzz findings --campaign 1
    """


@campaign.command()
@click.option("--name", default="", help="For people (default: profile and seed).")
@click.option("--programs", metavar="N", type=click.IntRange(1, PROGRAMS_MAX), help="Ends after N programs.")
@click.option("--seconds", metavar="N", type=click.IntRange(1, SECONDS_MAX), help="Ends after N seconds of running.")
@click.option("--until-regression", is_flag=True, help="Ends at the first one that is not known.")
@seed_option(None)
@profile_option
@click.option("--old", type=SpecType(), default="old", show_default=True, help="Semantics to compare from.")
@click.option("--new", type=SpecType(), default="new", show_default=True, help="Semantics to compare to.")
@click.option(
    "--batch-programs",
    metavar="N",
    type=click.IntRange(1, BATCH_PROGRAMS_MAX),
    default=BATCH_PROGRAMS,
    show_default=True,
    help="Programs per batch, the piece of work that is handed out and stored as a whole.",
)
@strategy_option
@click.option(
    "--slots-max", metavar="N", type=click.IntRange(1, SLOTS_MAX), help="Batches handed out at a time, at most."
)
@click.option(
    "--task-seconds",
    metavar="N",
    type=click.IntRange(1, TASK_SECONDS_MAX),
    help="A batch, or a group of findings to judge or to minimize, that takes longer is told to end, tried again, and "
    "then set aside with the error (default, and at most: MMUFUZZ_SOFT_LIMIT_SECONDS of the workers).",
)
@click.option(
    "--memory-mib",
    metavar="N",
    type=click.IntRange(MEMORY_MIB_MIN, MEMORY_MIB_MAX),
    help="The same for one that takes N MiB more memory than its process has when it begins (default: no limit).",
)
@click.option("--if-none", is_flag=True, help="Only if no campaign of this model version is there, in whatever state.")
@json_option
@_DATABASE
def create(
    database: str,
    name: str,
    programs: int | None,
    seconds: int | None,
    seed: int | None,
    profile: str | None,
    arch: str | None,
    old: Semantics,
    new: Semantics,
    strategies: tuple[str, ...] | None,
    if_none: bool,
    document: Document,
    **plan: Any,
) -> None:
    """Create a campaign; workers of the same model version begin at once.

    It ends when the first of its budgets is spent and everything found is judged and minimized. What fails because of
    --task-seconds or --memory-mib does not hold it up: 'mmufuzz campaign show' tells what was set aside, and why.

    \b
    Examples:
      mmufuzz campaign create --programs 1000000 --profile tdp
      mmufuzz campaign create --seconds 28800 --until-regression --new new-PATCH
      mmufuzz campaign create --programs 100000 --strategy pct --strategy burst
      mmufuzz campaign create --seconds 3600 --task-seconds 60 --memory-mib 512
    """
    wish = Wish(
        name=name,
        old=old.spec(),
        new=new.spec(),
        profile=searched_profile(profile, arch, old, new).profile,
        seed=seed,
        programs=programs,
        seconds=seconds,
        strategies=strategies,
        **plan,
    )
    with refuse(BadWish, advice="see 'mmufuzz campaign create --help'"):
        asked = prepared(wish)
    fleets = Fleets(open_engine(database))
    with refuse(StoreError, advice=_ADVICE):
        there = fleets.newest(asked.searched.model_version) if if_none else None
        number = there or fleets.create(asked.plan, asked.searched)
        status = fleets.status(number)
    known = f" is there, of model {asked.searched.model_version}" if there else ""
    document.console().print(f"campaign {number}{known}: watch it with  mmufuzz campaign show {number}")
    for line in waiting_words(status):
        document.console().print(line)
    document.write(reported(status, ()))


def _about_one(command: Callable[..., None]) -> click.Command:
    """Makes a subcommand that is told the number of a campaign."""
    return campaign.command()(_NUMBER(json_option(_DATABASE(command))))


@campaign.command("list")
@click.option("--limit", type=click.IntRange(1, 10**6), default=50, show_default=True, help="At most so many.")
@json_option
@_DATABASE
def list_campaigns(database: str, limit: int, document: Document) -> None:
    """List the campaigns, the newest first."""
    with refuse(StoreError, advice="name the workers' database with --db"):
        statuses = Fleets(open_engine(database)).statuses(limit)
    table = Table(box=None, pad_edge=False)
    for column in ("number", "state", "programs", "findings", "failures", "name"):
        table.add_column(column, justify="left" if column in ("state", "name") else "right", overflow="fold")
    for status in statuses:
        table.add_row(
            str(status.campaign.id),
            str(status.campaign.state),
            progress_words(status),
            str(status.findings),
            str(status.failures),
            status.campaign.name,
        )
    console = document.console()
    console.print(table if statuses else "no campaign; create one with 'mmufuzz campaign create'")
    document.write(CampaignsReport(tuple(reported(status, ()) for status in statuses)))


@_about_one
def show(database: str, number: int, document: Document) -> None:
    """Show how far a campaign is, and what keeps it from going on."""
    engine = open_engine(database)
    with refuse(StoreError, advice=_ADVICE):
        status = Fleets(engine).status(number)
        aside = Tasks(engine).aside(number)
    console = document.console()
    for label, text in details(status):
        console.print(f"{label:<12} {text}")
    for task in aside:
        console.print(f"{'set aside':<12} {task.name.kind} {task.name.number} after {task.starts} starts: {task.error}")
    for line in waiting_words(status):
        console.print(line)
    document.write(reported(status, tuple(aside)))


@_about_one
def pause(database: str, number: int, document: Document) -> None:
    """Hand out no more batches; those in hand are finished."""
    with steering(database, number, document) as fleets:
        fleets.pause(number)
    document.console().print(f"campaign {number} is paused; go on with  mmufuzz campaign resume {number}")


@_about_one
def resume(database: str, number: int, document: Document) -> None:
    """Go on with a paused campaign."""
    with steering(database, number, document) as fleets:
        fleets.resume(number)
    document.console().print(f"campaign {number} goes on")


@_about_one
def stop(database: str, number: int, document: Document) -> None:
    """End a campaign for good; everything found is kept."""
    with steering(database, number, document) as fleets:
        fleets.stop(number)
    document.console().print(f"campaign {number} is stopped; its findings:  mmufuzz findings --campaign {number}")


@contextmanager
def steering(database: str, number: int, document: Document) -> Iterator[Fleets]:
    """Open the campaigns to change one of them; its document is written at the end."""
    fleets = Fleets(open_engine(database))
    with refuse(StoreError, advice=_ADVICE):
        yield fleets
        status = fleets.status(number)
    document.write(reported(status, ()))


def details(status: FleetStatus) -> list[tuple[str, str]]:
    """A campaign as labelled lines."""
    campaign, plan = status.campaign, status.plan
    search = spelled_out(campaign.search)
    budget = [
        *([f"{spaced(campaign.budget_programs)} programs"] if campaign.budget_programs is not None else []),
        *([f"{campaign.budget_seconds:.0f} seconds"] if campaign.budget_seconds is not None else []),
        *(["the first regression"] if plan.until_regression else []),
    ]
    limits = [
        *([f"{plan.slots_max} batches at a time"] if plan.slots_max is not None else []),
        *([f"{plan.task_seconds} seconds a task"] if plan.task_seconds is not None else []),
        *([f"{plan.memory_mib} MiB a task"] if plan.memory_mib is not None else []),
    ]
    return [
        ("campaign", f"{campaign.id}: {campaign.name}"),
        ("state", f"{campaign.state}, ran {status.ran_seconds:.0f} s"),
        ("compares", f"{search.old} with {search.new}, profile {search.profile}"),
        ("seeds", f"from {search.seed}, {plan.batch_programs} a batch"),
        ("strategies", ", ".join(search.strategies or ())),
        ("until", ", or ".join(budget)),
        ("limits", ", ".join(limits) or "those of the workers"),
        ("programs", f"{progress_words(status)} in {status.batches} batches, {spaced(status.steps)} steps"),
        ("findings", f"{status.findings}, {status.failures} of them regression or unexplained"),
        ("not judged", f"{status.unjudged} traces"),
        ("model", campaign.model_version),
        ("workers", f"{status.slots} slots; {status.redeliveries} tasks begun again"),
    ]


def progress_words(status: FleetStatus) -> str:
    """E.g. "12 000 of 1 000 000"."""
    total = status.campaign.budget_programs
    return f"{spaced(status.programs)}{'' if total is None else f' of {spaced(total)}'}"


def reported(status: FleetStatus, aside: tuple[AsideTask, ...]) -> CampaignReport:
    campaign = status.campaign
    return CampaignReport(
        **msgspec.structs.asdict(spelled_out(campaign.search)),
        campaign=campaign.id,
        name=campaign.name,
        state=str(campaign.state),
        model=campaign.model_version,
        created_at=campaign.created_at,
        budget_programs=campaign.budget_programs,
        budget_seconds=campaign.budget_seconds,
        **msgspec.structs.asdict(status.plan),
        seconds=round(status.ran_seconds, 3),
        **{name: getattr(status, name) for name in Counts.__struct_fields__},
        open=sum(task.open for task in status.tasks),
        aside=aside,
        slots=status.slots,
    )
