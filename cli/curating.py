# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz findings comment | state | merge | split | history`: what people know of findings."""

import getpass
import os
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

import click

from cli.document import Document, json_option
from cli.options import campaign_option, findings_database_option
from cli.parameters import existing_engine
from db.history import Histories, HistoryRow
from db.merges import Merges
from db.schema import FindingState
from db.session import DEFAULT_URL, StoreError
from reference_mmu.record import Record
from workers.refusal import refuse

_Command = TypeVar("_Command", bound=Callable[..., object])
_ADVICE: Final = "'mmufuzz findings' lists the signatures"


class HistoryReport(Record):
    """The JSON of `findings history`, and of what adds to it."""

    signature: str
    history: tuple[HistoryRow, ...]


class MergeReport(Record):
    """The JSON of `findings merge` and `findings split`: `into` is what the signature was merged with, or was."""

    signature: str
    into: str
    merged: bool


def own_name() -> str:
    """Who runs this, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def by_option(command: _Command) -> _Command:
    """Adds --by to a command, which gets the name of who speaks as `who`."""
    return click.option("--by", "who", metavar="NAME", default=own_name, help="Who says so (default: your login).")(
        command
    )


def _why_option(command: _Command) -> _Command:
    return click.option("--why", metavar="TEXT", required=True, help="The reason, one line.")(command)


@click.command()
@click.argument("signature")
@click.argument("text")
@by_option
@campaign_option
@findings_database_option
@json_option
@click.pass_context
def comment(
    ctx: click.Context,
    signature: str,
    text: str,
    who: str,
    campaign: int | None,
    database: str | None,
    document: Document,
) -> None:
    """Say something about a finding, one line.

    \b
    Example:
      mmufuzz findings comment SIGNATURE "posted to the list, patch pending"
    """
    engine = existing_engine(database or ctx.obj or DEFAULT_URL)
    histories = Histories(engine)
    with refuse(StoreError, advice=_ADVICE):
        histories.comment(signature, who, text, campaign)
        rows = histories.of(signature, campaign)
    document.console().print(f"noted; read it with:  mmufuzz findings history {signature}")
    document.write(HistoryReport(signature, tuple(rows)))


@click.command()
@click.argument("signature")
@click.argument("state", type=click.Choice([str(state) for state in FindingState]))
@_why_option
@by_option
@campaign_option
@findings_database_option
@json_option
@click.pass_context
def state(
    ctx: click.Context,
    signature: str,
    state: str,
    why: str,
    who: str,
    campaign: int | None,
    database: str | None,
    document: Document,
) -> None:
    """Move a finding to another state.

    'mmufuzz recheck' moves it on by what it sees, but from invalid, which a person said, it moves nothing.

    \b
    Example:
      mmufuzz findings state SIGNATURE invalid --why "the model lacks the barrier"
    """
    engine = existing_engine(database or ctx.obj or DEFAULT_URL)
    histories = Histories(engine)
    with refuse(StoreError, advice=_ADVICE):
        histories.move(signature, FindingState(state), who, why, campaign)
        rows = histories.of(signature, campaign)
    document.console().print(f"{signature} is {state}")
    document.write(HistoryReport(signature, tuple(rows)))


@click.command()
@click.argument("signature")
@click.argument("target", metavar="INTO")
@_why_option
@by_option
@findings_database_option
@json_option
@click.pass_context
def merge(
    ctx: click.Context, signature: str, target: str, why: str, who: str, database: str | None, document: Document
) -> None:
    """Say that SIGNATURE is the same bug as INTO, in every campaign.

    Lists then show INTO alone where a campaign has both, and nobody is notified of SIGNATURE once INTO was told.
    Programs stay counted for what they showed, so that 'split' gives back what was before.
    """
    engine = existing_engine(database or ctx.obj or DEFAULT_URL)
    with refuse(StoreError, advice=_ADVICE):
        Merges(engine).merge(signature, target, who, why)
    words = f"{signature} is {target} from now on; take it back with:  mmufuzz findings split {signature}"
    document.console().print(words)
    document.write(MergeReport(signature, target, merged=True))


@click.command()
@click.argument("signature")
@_why_option
@by_option
@findings_database_option
@json_option
@click.pass_context
def split(ctx: click.Context, signature: str, why: str, who: str, database: str | None, document: Document) -> None:
    """Take a merge of SIGNATURE back."""
    engine = existing_engine(database or ctx.obj or DEFAULT_URL)
    with refuse(StoreError, advice=_ADVICE):
        target = Merges(engine).split(signature, who, why)
    document.console().print(f"{signature} is a finding of its own again, not {target}")
    document.write(MergeReport(signature, target, merged=False))


@click.command()
@click.argument("signature")
@campaign_option
@findings_database_option
@json_option
@click.pass_context
def history(ctx: click.Context, signature: str, campaign: int | None, database: str | None, document: Document) -> None:
    """Tell what happened to a finding since it was found."""
    engine = existing_engine(database or ctx.obj or DEFAULT_URL)
    with refuse(StoreError, advice=_ADVICE):
        rows = Histories(engine).of(signature, campaign)
    console = document.console()
    for row in rows:
        console.print(history_line(row))
    if not rows:
        console.print("nothing happened to it since it was found")
    document.write(HistoryReport(signature, tuple(rows)))


def history_line(row: HistoryRow) -> str:
    """E.g. "2026-11-22 12:00:00 UTC  eve  state  open -> invalid  no barrier in the model"."""
    moved = f"{row.from_state} -> {row.to_state}" if row.from_state is not row.to_state else str(row.to_state)
    return f"{when(row.at)}  {row.who}  {row.event}  {moved}  {row.why}"


def when(at: datetime) -> str:
    """A time, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


COMMANDS: Final = (comment, state, merge, split, history)
