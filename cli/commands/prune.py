# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz prune`: delete what is old."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

import click

from cli.document import Document, json_option
from cli.options import findings_database_option
from cli.parameters import existing_engine
from db.retention import delete_old, find_old
from db.session import DEFAULT_URL, StoreError, utc_now
from reference_mmu.record import Record
from workers.refusal import refuse

_DAYS: Final = {"d": 1, "w": 7, "y": 365}


class PruneReport(Record):
    """The JSON of `prune`; `deleted` is false of a dry run."""

    before: datetime
    deleted: bool
    campaigns: tuple[int, ...]
    kept: tuple[int, ...]
    occurrences: int


class AgeType(click.ParamType[timedelta]):
    """An age such as 90d, 12w or 2y."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,4})([dwy])", value)
        if found is None:
            self.fail(f"{value!r} is no age: give days, weeks or years like 90d, 12w or 2y", param, ctx)
        days = int(found[1]) * _DAYS[found[2]]
        if days >= utc_now().toordinal():
            self.fail(f"{value!r} is older than any calendar", param, ctx)
        return timedelta(days=days)


@click.command()
@click.option(
    "--older-than", "age", type=AgeType(), required=True, help="E.g. 90d, 12w, 2y; 0d for all that has ended."
)
@click.option("--yes", "sure", is_flag=True, help="Delete; without it, tell only.")
@findings_database_option
@json_option
def prune(age: timedelta, sure: bool, database: str | None, document: Document) -> None:
    """Delete old campaigns with all they found, and old occurrences of findings that stay.

    A campaign is old when it has ended and its last batch is older. One with an open regression or unexplained finding
    is kept: say what became of it ('mmufuzz findings state') first.

    \b
    Examples:
      mmufuzz prune --older-than 90d           tells what would go
      mmufuzz prune --older-than 90d --yes     deletes it
    """
    engine = existing_engine(database or DEFAULT_URL)
    before = utc_now() - age
    with refuse(StoreError, advice="nothing was deleted; try again"):
        old = (delete_old if sure else find_old)(engine, before)
    console = document.console()
    word = "deleted" if sure else "to delete"
    console.print(f"{word}: {len(old.campaigns)} campaigns{_numbers(old.campaigns)}")
    console.print(f"{word}: {old.occurrences} occurrences of findings that stay")
    if old.kept:
        console.print(f"kept for their open failures: campaigns{_numbers(old.kept)}")
    if not sure and (old.campaigns or old.occurrences):
        console.print("nothing was deleted; add --yes to delete")
    document.write(PruneReport(before, sure, old.campaigns, old.kept, old.occurrences))


def _numbers(campaigns: tuple[int, ...]) -> str:
    return "".join(f" {campaign}" for campaign in campaigns)
