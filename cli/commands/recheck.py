# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz recheck`: do the stored findings still show?"""

from typing import Final

import click

from cli.curating import by_option
from cli.document import Document, json_option
from cli.options import findings_database_option
from cli.parameters import existing_engine
from cli.watchdog import watchdog
from db.rechecks import Due, Moved, Rechecks
from db.schema import FindingState
from db.session import DEFAULT_URL, StoreError
from reference_mmu.record import Record
from reference_mmu.version import model_version
from workers.rechecking import rechecked
from workers.refusal import refuse

_ADVICE: Final = "'mmufuzz findings' lists the signatures"


class Rechecked(Record):
    """One finding in the JSON of `recheck`; `ran` is false if its reproducer was not run."""

    campaign: int
    signature: str
    before: FindingState
    after: FindingState
    ran: bool
    why: str


class RecheckReport(Record):
    """The JSON of `recheck`."""

    model: str
    rechecked: tuple[Rechecked, ...]


@click.command()
@click.argument("signatures", nargs=-1, metavar="[SIGNATURE]...")
@click.option("--all", "every", is_flag=True, help="Those, too, that this model version has run before.")
@by_option
@findings_database_option
@json_option
def recheck(signatures: tuple[str, ...], every: bool, who: str, database: str | None, document: Document) -> None:
    """Run stored reproducers again, and move their findings between open, fixed, no-longer-reproduces and invalid.

    Without SIGNATURE: those that this version of the model has not run. Workers do the same by themselves when a
    worker with another model version joins them.

    \b
    Examples:
      mmufuzz recheck
      mmufuzz recheck --all --json -
      mmufuzz findings history SIGNATURE

    Exit codes: 0 every finding is in the state it was in, 1 one moved, 2 bad input.
    """
    rechecks = Rechecks(existing_engine(database or DEFAULT_URL), model_version())
    with refuse(StoreError, advice=_ADVICE):
        for signature in signatures:
            rechecks.find(signature)
        due = rechecks.all(signatures) if every or signatures else rechecks.due()
    console = document.console()
    results = []
    for one in due:
        with refuse(StoreError, advice="run it again: what was done is stored"):
            result = _recheck(rechecks, one, who)
        if result is None:
            continue
        results.append(result)
        moved = str(result.after) if result.before is result.after else f"{result.before} -> {result.after}"
        console.print(f"{moved}  {result.signature}  run {result.campaign}  {result.why}")
    if not results:
        console.print(f"nothing to recheck with model {model_version()}; with --all, everything")
    document.write(RecheckReport(model_version(), tuple(results)))
    raise click.exceptions.Exit(int(any(result.before is not result.after for result in results)))


def _recheck(rechecks: Rechecks, due: Due, who: str) -> Rechecked | None:
    """Run one reproducer and note what came out; None if the finding was deleted meanwhile."""
    body = rechecks.body(due.finding)
    if body is None:
        return None
    with watchdog():
        seen = rechecked(body)
    moved: Moved | None = rechecks.store(due.finding, seen, who)
    if moved is None:
        return None
    return Rechecked(due.campaign, due.signature, moved.before, moved.after, seen.state is not None, seen.why)
