# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz expose`: for semantic and cost patches, a program that shows what each changes."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import click
from rich.console import Console
from rich.table import Table

from cli.chosen import chosen, patches_argument, print_results, worked_through
from cli.document import Document, check_directory, json_option, write_whole
from cli.one_line_errors import INTERRUPTED
from cli.options import out_option, seed_option
from cli.progress import spaced
from cli.summary import replay_command
from fuzzer.expose import Exposure, expose_steps
from reference_mmu.record import Record
from workers.refusal import refuse

_KINDS: Final = ("semantic", "cost")


class ExposedPatch(Record):
    """One result in the JSON of `expose`. `reason`: why a patch is shown on a function and not by a program."""

    patch: str
    exposed: bool
    seconds: float
    programs: int
    effects: tuple[str, ...]
    reproducer: str | None
    level: Literal["system", "function"]
    witness: str | None
    reason: str


class ExposeReport(Record):
    """The JSON of `expose`."""

    results: tuple[ExposedPatch, ...]


@click.command()
@patches_argument
@click.option(
    "--seconds-per-patch", type=click.IntRange(1, 10**6), default=20, show_default=True, help="Give up after N seconds."
)
@seed_option(default=0)
@out_option("patch")
@json_option
def expose(
    names: tuple[str, ...], every: bool, seconds_per_patch: int, seed: int, folder: Path, document: Document
) -> None:
    """Find what semantic and cost patches change.

    The kernel that its series was applied to, with what the patch requires, is searched against the same kernel with
    the patch, until a difference is found and attributed to the patch. A patch that no guest and no userspace can
    notice is shown on the function it changes; the output says so and why.

    \b
    Examples:
      mmufuzz expose --all
      mmufuzz expose age-elides-tlb-flush --seed 7 --out .

    Exit codes: 0 all exposed, 1 not all, 2 bad input, 130 stopped by Ctrl-C with the results so far.
    """
    patches = chosen(names, every, _KINDS, "see that it changes nothing with 'mmufuzz prove")
    check_directory(folder, "--out")
    console = document.console()

    def expose_one(patch: str) -> ExposedPatch:
        return search(patch, seed, seconds_per_patch, folder)

    results, interrupted = worked_through(patches, console, expose_one, print_story)
    print_results(console, table_of(results), every, _KINDS)
    document.write(ExposeReport(tuple(results)))
    exposed = all(result.exposed for result in results)
    click.get_current_context().exit(INTERRUPTED if interrupted else 0 if exposed else 1)


def search(patch: str, seed: int, seconds_limit: int, folder: Path) -> ExposedPatch:
    """Search until the patch is exposed or the time is over, and write the reproducer."""
    started = time.monotonic()
    last = last_step(expose_steps(patch, seed), started + seconds_limit)
    return ExposedPatch(
        patch=patch,
        exposed=last.exposed,
        seconds=round(time.monotonic() - started, 3),
        programs=last.programs,
        effects=last.effects,
        reproducer=written(last, folder),
        level=last.level,
        witness=last.witness,
        reason=last.reason,
    )


def last_step(steps: Iterable[Exposure], deadline: float) -> Exposure:
    """The exposure, or how far the search has come at the deadline."""
    for step in steps:
        if step.exposed or time.monotonic() >= deadline:
            return step
    raise AssertionError("a search ends only with an exposure")


def written(exposure: Exposure, folder: Path) -> str | None:
    """Write the reproducer; returns where, None if there is none. Raises BadInput."""
    if exposure.reproducer is None:
        return None
    path = folder / f"expose-{exposure.patch}.json"
    with refuse(OSError, advice=f"--out {folder} cannot be written, name another directory"):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, exposure.reproducer)
    return str(path)


def print_story(console: Console, result: ExposedPatch) -> None:
    """What was seen, and how to see it again."""
    console.print(f"{result.patch}: {result.witness or 'no difference found; give it more --seconds-per-patch'}")
    if result.reproducer is not None:
        console.print(f"  replay it with: {replay_command(Path(result.reproducer))}")
    if result.reason:
        console.print(f"  at function level, because: {result.reason}")


def table_of(results: list[ExposedPatch]) -> Table:
    table = Table("patch", "exposed", "level", "programs", "seconds", "effects")
    for column in table.columns[3:5]:
        column.justify = "right"
    for result in results:
        exposed = "yes" if result.exposed else "NO"
        cells = (spaced(result.programs), f"{result.seconds:.1f}", ", ".join(result.effects) or "-")
        table.add_row(result.patch, exposed, result.level, *cells)
    return table
