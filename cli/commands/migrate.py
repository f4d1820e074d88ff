# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz migrate`: the tables of a database, forward and back."""

from typing import Final

import click

from cli.document import Document, json_option
from cli.options import findings_database_option
from cli.parameters import check_exists
from db.liveness import workers
from db.revisions import Revisions, back, forward, revisions
from db.session import DEFAULT_URL, StoreError, open_database
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse

_ADVICE: Final = "'mmufuzz migrate' tells where the database is"


class RevisionsReport(Record):
    """The JSON of `migrate`: where the database is, null without tables, and where this version goes."""

    revision: str | None
    newest: str


@click.group(invoke_without_command=True)
@findings_database_option
@json_option
@click.pass_context
def migrate(ctx: click.Context, database: str | None, document: Document) -> None:
    """Tell which revision of the tables a database has, and move it.

    Every command that opens a database moves it forward by itself. To go back to an older version of mmufuzz: stop the
    workers, 'migrate down' with this version, then install the older one.

    \b
    Examples:
      mmufuzz migrate
      mmufuzz migrate up
      mmufuzz migrate down --yes
    """
    ctx.obj = database
    if ctx.invoked_subcommand is not None:
        document.belongs_after(ctx.invoked_subcommand)
    else:
        url = database or DEFAULT_URL
        check_exists(url)
        with refuse(StoreError, advice="name another database with --db"):
            at = revisions(url)
        tell(at, document)


@migrate.command()
@findings_database_option
@json_option
@click.pass_context
def up(ctx: click.Context, database: str | None, document: Document) -> None:
    """Move to the newest revision."""
    url = database or ctx.obj or DEFAULT_URL
    with refuse(StoreError, advice="name another database with --db"):
        forward(url)
        at = revisions(url)
    tell(at, document)


@migrate.command()
@click.option("--to", "target", metavar="REVISION", help="The revision to go back to (default: the one before).")
@click.option("--yes", "sure", is_flag=True, help="What only later revisions have may be lost.")
@findings_database_option
@json_option
@click.pass_context
def down(ctx: click.Context, target: str | None, sure: bool, database: str | None, document: Document) -> None:
    """Move back to an earlier revision. What only later ones have is lost."""
    url = database or ctx.obj or DEFAULT_URL
    check_exists(url)
    if not sure:
        raise BadInput("what only later revisions have is lost; make a copy of the database, then add --yes")
    with refuse(StoreError, advice=_ADVICE):
        if revisions(url).is_newest():
            _refuse_live_workers(url)
        at = back(url, target)
    tell(at, document)


def _refuse_live_workers(url: str) -> None:
    """Raise BadInput while workers are alive: they would move the tables forward again."""
    engine = open_database(url)
    try:
        alive = workers(engine)
    finally:
        engine.dispose()
    if alive:
        raise BadInput(f"{len(alive)} workers are alive, which move it forward again; stop them first")


def tell(at: Revisions, document: Document) -> None:
    place = "the newest" if at.is_newest() else f"the newest is {at.known[-1]}"
    document.console().print(f"revision {at.database}, {place}" if at.database else f"no tables yet, {place}")
    document.write(RevisionsReport(at.database, at.known[-1]))
