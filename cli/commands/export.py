# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz export`: a reproducer as a pytest file, text, or a trace for other tools."""

from pathlib import Path

import click

from cli.document import STANDARD_OUTPUT, Document, check_writable, json_option, write_whole
from cli.options import Filled, run_change_option
from cli.parameters import read_reproducer
from cli.watchdog import watchdog
from fuzzer.reproducer import ReproducerError
from fuzzer.tell.export.forms import FORMS
from fuzzer.tell.export.trace_json import make_document
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse


class ExportReport(Record):
    """The JSON of `export`; `written` is null for standard output."""

    file: str
    form: str
    written: str | None
    bytes_total: int


@click.command()
@click.argument("file")
@click.option("--as", "form", type=click.Choice(list(FORMS)), required=True, help="What to make of it.")
@click.option(
    "--out",
    type=Filled(),
    default=STANDARD_OUTPUT,
    metavar="PATH",
    help="Where to write it [default: standard output].",
)
@run_change_option
@json_option
def export(file: str, form: str, out: str, run_change: bool, document: Document) -> None:
    """Replay a reproducer and write it in another form.

    Every form carries the reproducer along and says in its first lines how to replay it; 'mmufuzz replay' reads them
    all.

    \b
    Examples:
      mmufuzz export findings/FILE.json --as pytest --out test_finding.py
      mmufuzz export findings/FILE.json --as perfetto --out finding.perfetto.json
    """
    if out == STANDARD_OUTPUT and document.to_stdout:
        raise BadInput("--json - and the export both want standard output; name a file with --out")
    if out != STANDARD_OUTPUT:
        check_writable(Path(out), "--out")
    reproducer = read_reproducer(file, run_change)
    with watchdog(), refuse(ReproducerError, what=file, advice="the other forms can be had"):
        data = FORMS[form].write(make_document(reproducer))
    if out == STANDARD_OUTPUT:
        click.echo(data, nl=False)
    else:
        with refuse(OSError, what=f"--out {out} cannot be written", advice="name another file"):
            write_whole(Path(out), data)
        document.console().print(f"written to {out}")
    document.write(ExportReport(file, form, None if out == STANDARD_OUTPUT else out, len(data)))
