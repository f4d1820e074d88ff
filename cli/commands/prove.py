# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz prove`: equivalence patches, shown to change nothing."""

import time
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from cli.chosen import chosen, left_out, patches_argument, worked_through
from cli.document import Document, json_option
from cli.one_line_errors import INTERRUPTED
from cli.progress import spaced
from fuzzer.prove.prove import Proof
from fuzzer.prove.prove import prove as prove_patch
from reference_mmu.record import Record

_KINDS: Final = ("equivalence",)


class ProvedPatch(Record):
    """One result in the JSON of `prove`."""

    patch: str
    proven: bool
    cases: int
    domain: str
    counterexample: str | None
    seconds: float


class ProveReport(Record):
    """The JSON of `prove`."""

    results: tuple[ProvedPatch, ...]


@click.command()
@patches_argument
@json_option
def prove(names: tuple[str, ...], every: bool, document: Document) -> None:
    """Show that equivalence patches change nothing.

    The model without and with the patch is compared on every input of the functions that the patch touches, on the
    oldest base it can stand on and on the newest; where state is involved, also by programs run in lockstep.

    \b
    Examples:
      mmufuzz prove --all
      mmufuzz prove fold-make-spte-writable --json -

    Exit codes: 0 all proven, 1 a counterexample, 2 bad input, 130 stopped by Ctrl-C with the results so far.
    """
    patches = chosen(names, every, _KINDS, "see what it changes with 'mmufuzz expose")
    console = document.console()
    results, interrupted = worked_through(patches, console, timed_proof, print_domain)
    console.print(table_of(results))
    for line in left_out(every, _KINDS):
        console.print(line)
    document.write(ProveReport(tuple(results)))
    proven = all(result.proven for result in results)
    click.get_current_context().exit(INTERRUPTED if interrupted else 0 if proven else 1)


def timed_proof(patch: str) -> ProvedPatch:
    started = time.monotonic()
    proof: Proof = prove_patch(patch)
    seconds = round(time.monotonic() - started, 3)
    return ProvedPatch(proof.patch, proof.proven, proof.cases, proof.domain, proof.counterexample, seconds)


def print_domain(console: Console, result: ProvedPatch) -> None:
    """What was compared, and where it differs if it does."""
    console.print(f"{result.patch}: {result.domain}")
    if result.counterexample is not None:
        console.print(f"  counterexample: {result.counterexample}")


def table_of(results: list[ProvedPatch]) -> Table:
    table = Table("patch", "proven", "cases", "seconds")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        table.add_row(result.patch, "yes" if result.proven else "NO", spaced(result.cases), f"{result.seconds:.1f}")
    return table
