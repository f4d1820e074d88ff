# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz doctor`: is everything there that a worker here needs?"""

from importlib import import_module
from typing import TYPE_CHECKING

import click

from cli.document import Document, json_option
from reference_mmu.record import Record
from workers.refusal import BadInput

if TYPE_CHECKING:
    from cli.examination import Check


class DoctorReport(Record):
    """The JSON of `doctor`."""

    checks: "tuple[Check, ...]"


@click.command()
@json_option
def doctor(document: Document) -> None:
    """Check broker, database, migrations, clock, workers and disk; each line says what to do if something is wrong.

    Changes nothing. MMUFUZZ_BROKER and MMUFUZZ_DATABASE say where the servers are.

    \b
    Exit codes: 0 all is well or could be better, 1 something failed, 2 bad input.
    """
    try:
        settings = import_module("workers.settings").settings()
        examination = import_module("cli.examination")
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed; get the service: pip install 'mmufuzz[service]'") from error
    console = document.console()
    checks = []
    for check in examination.examine(settings):
        checks.append(check)
        console.print(f"{check.health:<8} {check.name:<11} {check.text}{f'; {check.step}' if check.step else ''}")
    document.write(DoctorReport(tuple(checks)))
    raise click.exceptions.Exit(int(any(check.health is examination.Rating.FAILED for check in checks)))
