# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz prove`: equivalence patches, shown to change nothing."""

import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from cli.chosen import chosen, left_out, patches_argument, worked_through
from cli.document import Document, check_directory, json_option, write_whole
from cli.one_line_errors import INTERRUPTED
from cli.options import out_option
from cli.progress import spaced
from cli.summary import replay_command
from fuzzer.prove.prove import Proof
from fuzzer.prove.prove import prove as prove_patch
from reference_mmu.record import Record
from workers.refusal import refuse

_KINDS: Final = ("equivalence", "series")
NOT_ALONE: Final = 3


class ProvedPatch(Record):
    """One result in the JSON of `prove`. `together` and `why`: the patches that it is equivalent with, but not without,
    and what is wrong alone; `reproducer`: the file that shows the counterexample, if a program does."""

    patch: str
    proven: bool
    cases: int
    domain: str
    counterexample: str | None
    seconds: float
    together: tuple[str, ...]
    why: str
    reproducer: str | None


class ProveReport(Record):
    """The JSON of `prove`."""

    results: tuple[ProvedPatch, ...]


@click.command()
@patches_argument
@out_option("patch")
@json_option
def prove(names: tuple[str, ...], every: bool, folder: Path, document: Document) -> None:
    """Show that equivalence patches change nothing.

    The model without and with the patch is compared on every input of the functions that the patch touches, on the
    oldest base it can stand on and on the newest; where state is involved, also by programs run in lockstep. A patch
    that is no equivalence alone, but is one together with a later one that mends it, is told as such. Of a merge it is
    shown that it is its members, and nothing beside them.

    \b
    Examples:
      mmufuzz prove --all
      mmufuzz prove fold-make-spte-writable --json -

    Exit codes: 0 all proven, 1 a counterexample, 2 bad input, 3 not all are equivalent alone, but those that are not
    are proven together with what mends them, 130 stopped by Ctrl-C with the results so far.
    """
    patches = chosen(names, every, _KINDS, "see what it changes with 'mmufuzz expose")
    check_directory(folder, "--out")
    console = document.console()

    def prove_one(patch: str) -> ProvedPatch:
        return timed_proof(patch, folder)

    results, interrupted = worked_through(patches, console, prove_one, print_domain)
    console.print(table_of(results))
    for line in left_out(every, _KINDS):
        console.print(line)
    document.write(ProveReport(tuple(results)))
    click.get_current_context().exit(INTERRUPTED if interrupted else exit_code(results))


def exit_code(results: list[ProvedPatch]) -> int:
    """0 if all are proven, 1 for a counterexample that nothing mends, else NOT_ALONE."""
    if any(not result.proven and not result.together for result in results):
        return 1
    return 0 if all(result.proven for result in results) else NOT_ALONE


def timed_proof(patch: str, folder: Path) -> ProvedPatch:
    started = time.monotonic()
    proof: Proof = prove_patch(patch)
    seconds = round(time.monotonic() - started, 3)
    file = None
    if proof.reproducer is not None:
        file = str(written(proof.reproducer, folder / f"prove-{patch}.json"))
    return ProvedPatch(
        patch=proof.patch,
        proven=proof.proven,
        cases=proof.cases,
        domain=proof.domain,
        counterexample=proof.counterexample,
        seconds=seconds,
        together=proof.together,
        why=proof.why,
        reproducer=file,
    )


def written(reproducer: bytes, path: Path) -> Path:
    """Write a reproducer. Raises BadInput."""
    with refuse(OSError, advice=f"--out {path.parent} cannot be written, name another directory"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, reproducer)
    return path


def print_domain(console: Console, result: ProvedPatch) -> None:
    """What was compared, and where it differs if it does."""
    if result.together:
        console.print(f"{result.patch}: not equivalent alone: {result.why}")
        console.print(f"  together with {', '.join(result.together)}: {result.domain}")
    else:
        console.print(f"{result.patch}: {result.domain}")
    if result.counterexample is not None:
        console.print(f"  counterexample{' alone' if result.together else ''}: {result.counterexample}")
    if result.reproducer is not None:
        console.print(f"  replay it with: {replay_command(Path(result.reproducer))}")


def table_of(results: list[ProvedPatch]) -> Table:
    table = Table("patch", "state", "cases", "seconds")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        table.add_row(result.patch, state_of(result), spaced(result.cases), f"{result.seconds:.1f}")
    return table


def state_of(result: ProvedPatch) -> str:
    if result.proven:
        return "proven"
    if result.together:
        return f"not equivalent alone, proven with {result.together[0]}"
    return "NOT PROVEN"
