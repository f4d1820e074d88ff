# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz minimize`: shrink a reproducer again."""

from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from cli.document import Document, check_writable, json_option, write_whole
from cli.options import FilledPath, run_change_option
from cli.parameters import read_reproducer
from cli.summary import replay_command
from cli.watchdog import watchdog
from fuzzer.found import minimized
from fuzzer.judge.shows import shows
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import DEFAULT_BUDGET, PassCount
from fuzzer.reproducer import Reproducer, decode_reproducer, encode_reproducer, make_reproducer
from fuzzer.run.compare import by_switches
from reference_mmu.record import Record
from workers.refusal import refuse


class MinimizeReport(Record):
    """The JSON of `minimize`; `written` is null if the finding was lost."""

    file: str
    written: str | None
    smaller: bool
    complete: bool
    executions: int
    operations_before: int
    operations: int
    preemptions_before: int
    preemptions: int
    passes: tuple[PassCount, ...]
    """What each pass of the minimizer cost and gained, in the order in which they are made; none if the finding was
    lost."""


@click.command()
@click.argument("file")
@click.option("--out", type=FilledPath(), help="Where to write the result (default: FILE with .min.json at its end).")
@click.option(
    "--budget",
    type=click.IntRange(1, 10**7),
    default=DEFAULT_BUDGET,
    show_default=True,
    help="Executions of both models to spend; raise it for a reproducer that is not complete.",
)
@run_change_option
@json_option
def minimize(file: str, out: str | None, budget: int, run_change: bool, document: Document) -> None:
    """Shrink a reproducer and write the smaller one.

    The result is 1-minimal, unless the budget ends first: without any single operation or switch the finding is gone.

    \b
    Example:
      mmufuzz minimize findings/FILE.json --budget 5000 --out smaller.json

    Exit codes: 0 written (the same story, if it could not be made smaller), 1 the finding does not show any more,
    2 bad input.
    """
    reproducer = read_reproducer(file, run_change)
    target = Path(out) if out else Path(file).with_suffix(".min.json")
    check_writable(target, "--out")
    console = document.console()
    with watchdog():
        shrunk = shrink(reproducer, budget)
    if shrunk is None:
        console.print(f"the finding does not show with this model; 'mmufuzz replay {file}' says where it differs")
        document.write(report(file, None, reproducer, Shrunk(reproducer, 1)))
        raise click.exceptions.Exit(1)
    with refuse(OSError, what=f"--out {target} cannot be written", advice="name another file"):
        write_whole(target, encode_reproducer(shrunk.reproducer))
    result = report(file, str(target), reproducer, shrunk)
    console.print(f"operations: {result.operations_before} -> {result.operations}")
    console.print(f"preemptions: {result.preemptions_before} -> {result.preemptions}")
    if not shrunk.reproducer.complete:
        console.print(f"not 1-minimal yet: give it more than --budget {budget}")
    console.print(
        f"written to {target}; tell it with:  {replay_command(target)}{' --run-change' if reproducer.diff else ''}"
    )
    document.write(result)


class Shrunk(NamedTuple):
    """The smallest reproducer there is now, how often both models were run for it, and in which passes."""

    reproducer: Reproducer
    executions: int
    passes: tuple[PassCount, ...] = ()


def shrink(reproducer: Reproducer, budget: int) -> Shrunk | None:
    """Minimize the story from where it is; None if the finding does not show in it."""
    comparison, scenario, finding = reproducer.comparison(), reproducer.scenario(), reproducer.finding
    drive = by_switches(scenario.switches)
    outcome = comparison.run(scenario.program, drive)
    if not shows(finding, outcome):
        return None
    trial = Trial(comparison, drive, outcome)
    found = minimized(trial, finding, budget, 0)
    # Made anew, so that the digest is that of this model even if nothing gets smaller.
    best = make_reproducer(comparison, scenario, outcome, finding, reproducer.complete)
    if found.reproducer is not None:
        smaller = decode_reproducer(found.reproducer)
        if smaller.scenario().size() < best.scenario().size() or (smaller.complete and not best.complete):
            best = smaller
    best = msgspec.structs.replace(best, profile=reproducer.profile)
    return Shrunk(best, found.executions, found.passes)


def report(file: str, written: str | None, before: Reproducer, shrunk: Shrunk) -> MinimizeReport:
    now = shrunk.reproducer
    return MinimizeReport(
        file=file,
        written=written,
        smaller=now.scenario().size() < before.scenario().size(),
        complete=now.complete,
        executions=shrunk.executions,
        operations_before=before.program.operations(),
        operations=now.program.operations(),
        preemptions_before=len(before.switches),
        preemptions=len(now.switches),
        passes=shrunk.passes,
    )
