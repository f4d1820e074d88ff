# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz prove`: equivalence patches, shown to change nothing."""

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NoReturn

import click
from msgspec.structs import asdict
from rich.console import Console
from rich.table import Table

from cli.breaking import breakers, tried
from cli.chosen import chosen, patches_argument, print_results, worked_through
from cli.document import Document, check_directory, json_option, write_whole
from cli.interpreted import require_interpreted
from cli.one_line_errors import INTERRUPTED
from cli.options import out_option
from cli.progress import spaced
from cli.summary import replay_command
from fuzzer.prove.equivalences import Halves
from fuzzer.prove.mutants import reason_of
from fuzzer.prove.prove import Proof
from fuzzer.prove.prove import prove as prove_patch
from reference_mmu.record import Record
from workers.refusal import refuse

_KINDS: Final = ("equivalence", "series")
NOT_ALONE: Final = 3
_JOBS_MAX: Final = 64


class ProvedPatch(Record):
    """One result in the JSON of `prove`. `cases`: how many were compared, of which `programs` are random programs and
    the rest all inputs of `exhaustive`; `together` and `why`: the patches that it is equivalent with, but not without,
    and what is wrong alone; `reproducer`: the file that shows the counterexample, if a program does."""

    patch: str
    proven: bool
    cases: int
    programs: int
    exhaustive: tuple[str, ...]
    domain: str
    counterexample: str | None
    seconds: float
    together: tuple[str, ...]
    why: str
    reproducer: str | None


class Survivor(Record):
    """A mutant that nothing noticed. `place`: file and line of the model; `reason`: why nobody can notice it, "" if
    none is known."""

    id: str
    place: str
    about: str
    reason: str


class TriedPatch(Record):
    """One result in the JSON of `prove --mutate`: how many mutants there are of the side with the patch, and how many
    the proof noticed by an input of a sweep, by a random program, or because the model broke down on either."""

    patch: str
    mutants: int
    by_input: int
    by_program: int
    by_error: int
    survivors: tuple[Survivor, ...]
    seconds: float

    @property
    def unexplained(self) -> int:
        return sum(not survivor.reason for survivor in self.survivors)


class MutateReport(Record):
    """The JSON of `prove --mutate`."""

    results: tuple[TriedPatch, ...]


class ProveReport(Record):
    """The JSON of `prove`."""

    results: tuple[ProvedPatch, ...]


@click.command()
@patches_argument
@click.option(
    "--mutate", is_flag=True, help="Break the side with the patch instead, and ask whether the proof sees it."
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1, _JOBS_MAX),
    default=1,
    show_default=True,
    help="Processes of --mutate.",
)
@out_option("patch")
@json_option
def prove(names: tuple[str, ...], every: bool, mutate: bool, jobs: int, folder: Path, document: Document) -> None:
    """Show that equivalence patches change nothing.

    The model without and with the patch is compared on every input of the functions that the patch touches, on the
    oldest base it can stand on and on the newest; where state is involved, also by programs run in lockstep. A patch
    that is no equivalence alone, but is one together with a later one that mends it, is told as such. Of a merge it is
    shown that it is its members, and nothing beside them.

    --mutate asks whether a proof would see a patch that is wrong. The code that runs only with the patch is broken in
    every place by machine, one at a time: a statement left out, a condition always or never true, an operator or an
    operand exchanged or dropped, a constant one off, a value replaced by 0. Each such mutant has to be noticed by an
    input or a program on which the sides differ. Those that live are listed, with the reason why nobody can notice
    them; a mutant without one is a hole in the proof.

    \b
    Examples:
      mmufuzz prove --all
      mmufuzz prove fold-make-spte-writable --mutate
      mmufuzz prove --mutate --all --jobs 2 --json mutants.json
      mmufuzz prove fold-make-spte-writable --json -

    Exit codes: 0 all proven, or every mutant noticed or explained; 1 a counterexample, or a mutant that lives without a
    reason; 2 bad input, 3 not all are equivalent alone, but those that are not
    are proven together with what mends them, 130 stopped by Ctrl-C with the results so far.
    """
    patches = chosen(names, every, _KINDS, "see what it changes with 'mmufuzz expose")
    check_directory(folder, "--out")
    if mutate:
        require_interpreted()
        mutate_all(patches, every, jobs, document)
    console = document.console()
    pairs: dict[Halves, Proof] = {}

    def prove_one(patch: str) -> ProvedPatch:
        return timed_proof(patch, folder, pairs)

    results, interrupted = worked_through(patches, console, prove_one, print_domain)
    print_results(console, table_of(results), every, _KINDS)
    document.write(ProveReport(tuple(results)))
    click.get_current_context().exit(INTERRUPTED if interrupted else exit_code(results))


def mutate_all(patches: list[str], every: bool, jobs: int, document: Document) -> NoReturn:
    """`prove --mutate`, to its exit code."""
    console = document.console()
    with breakers(jobs) as pool:

        def try_one(patch: str) -> TriedPatch:
            return tried_patch(pool, patch)

        results, interrupted = worked_through(patches, console, try_one, print_survivors)
    print_results(console, table_of_mutants(results), every, _KINDS)
    document.write(MutateReport(tuple(results)))
    holes = any(result.unexplained for result in results)
    click.get_current_context().exit(INTERRUPTED if interrupted else int(holes))


def tried_patch(pool: ProcessPoolExecutor, patch: str) -> TriedPatch:
    started = time.monotonic()
    outcomes = list(tried(pool, patch))
    ways = Counter(noticed.how for _, noticed in outcomes)
    return TriedPatch(
        patch=patch,
        mutants=len(outcomes),
        by_input=ways["input"],
        by_program=ways["program"],
        by_error=ways["error"],
        survivors=tuple(
            Survivor(mutant.id, mutant.place, mutant.about, reason_of(mutant))
            for mutant, noticed in outcomes
            if noticed.how == "nothing"
        ),
        seconds=round(time.monotonic() - started, 3),
    )


def print_survivors(console: Console, result: TriedPatch) -> None:
    for survivor in result.survivors:
        told = survivor.reason or "NOT NOTICED, and no reason is known"
        console.print(f"{result.patch}: {survivor.place}: {survivor.about}: {told}")


def table_of_mutants(results: list[TriedPatch]) -> Table:
    table = Table("patch", "mutants", "by input", "by program", "broke down", "explained", "not noticed", "seconds")
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        explained = len(result.survivors) - result.unexplained
        counts = (result.mutants, result.by_input, result.by_program, result.by_error, explained, result.unexplained)
        table.add_row(result.patch, *map(spaced, counts), f"{result.seconds:.1f}")
    return table


def exit_code(results: list[ProvedPatch]) -> int:
    """0 if all are proven, 1 for a counterexample that nothing mends, else NOT_ALONE."""
    if any(not result.proven and not result.together for result in results):
        return 1
    return 0 if all(result.proven for result in results) else NOT_ALONE


def timed_proof(patch: str, folder: Path, pairs: dict[Halves, Proof]) -> ProvedPatch:
    started = time.monotonic()
    proof: Proof = prove_patch(patch, pairs=pairs)
    seconds = round(time.monotonic() - started, 3)
    file = None
    if proof.reproducer is not None:
        file = str(written(proof.reproducer, folder / f"prove-{patch}.json"))
    return ProvedPatch(**asdict(proof) | {"seconds": seconds, "reproducer": file})


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
    table = Table("patch", "state", "exhaustive over", "inputs", "programs", "seconds")
    for column in table.columns[3:]:
        column.justify = "right"
    for result in results:
        inputs, programs = spaced(result.cases - result.programs), spaced(result.programs)
        over = "\n".join(result.exhaustive)
        table.add_row(result.patch, state_of(result), over, inputs, programs, f"{result.seconds:.1f}")
    return table


def state_of(result: ProvedPatch) -> str:
    if result.proven:
        return "proven"
    if result.together:
        return f"not equivalent alone, proven with {result.together[0]}"
    return "NOT PROVEN"
