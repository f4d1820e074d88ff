# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz replay`: tell a reproducer step by step and check that it still shows what it was made for."""

from collections.abc import Iterator
from typing import Final

import click
import msgspec

from cli.chance import chance_lines
from cli.document import Document, json_option
from cli.options import run_change_option
from cli.parameters import read_reproducer
from cli.telling import print_telling
from cli.watchdog import watchdog
from fuzzer.judge.finding import Verdict
from fuzzer.recheck import Recheck, recheck
from fuzzer.reproducer import Reproducer
from fuzzer.tell.inevitable import Chances, chances
from fuzzer.tell.story import Row, first_difference, patches_alone, tell
from workers.refusal import BadInput

_STEPS_MAX: Final = 10_000


class ReplayReport(msgspec.Struct, frozen=True):
    """The JSON of `replay`. `first_difference` is the index of the first row in which the models differ, -1 if none;
    `chances` is null without --resample."""

    file: str
    reproduced: bool
    signature: str
    verdict: Verdict
    kind: str
    what: str
    patches: tuple[str, ...]
    story: str
    recheck: Recheck
    first_difference: int
    rows: tuple[Row, ...]
    chances: Chances | None


@click.command()
@click.argument("file")
@click.option(
    "--alone",
    is_flag=True,
    help="Tell the story with nothing but the attributed patches, and what they require, between OLD and NEW.",
)
@click.option(
    "--resample",
    "walks",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Also tell from which step on the finding is inevitable: leave the rest to chance, N times from each step.",
)
@run_change_option
@json_option
def replay(file: str, alone: bool, walks: int | None, run_change: bool, document: Document) -> None:
    """Tell a finding step by step, and check that it shows.

    Each row is one turn: who ran up to which preemption point, and what each model did on the way. >>> marks the
    first row in which the models differ, !! a broken invariant.

    \b
    Examples:
      mmufuzz replay findings/FILE.json
      mmufuzz replay FILE --alone          without what other patches change
      mmufuzz replay FILE --resample 100   how likely it is from each step on

    A reproducer of 'mmufuzz run --apply' brings its change of the model along, which is code, and runs only with
    --run-change.

    Exit codes: 0 the same finding by the very same trace, 1 not reproduced, 2 bad input.
    """
    reproducer = read_reproducer(file, run_change)
    if alone and not reproducer.finding.patches:
        raise BadInput(f"{file}: no patch is attributed to it; replay it without --alone")
    comparison, story = reproducer.comparison(), reproducer.scenario()
    with watchdog():
        telling = tell(comparison, story)
        check = recheck(reproducer, telling.outcome)
        rows = telling.rows
        told = None if walks is None else chances(reproducer, walks, _STEPS_MAX)
        if alone:
            comparison = patches_alone(reproducer)
            rows = tell(comparison, story).rows
    console = document.console()
    print_telling(console, reproducer, comparison, rows)
    console.print()
    for line in check_lines(reproducer, check):
        console.print(line)
    if told is not None:
        console.print()
        for line in chance_lines(told, telling.rows, reproducer.leader):
            console.print(line, highlight=False, soft_wrap=True)
    others = comparison.old != comparison.new
    if first_difference(rows) >= 0 and not alone and others and reproducer.finding.patches:
        console.print(f"without the differences that other patches make:  mmufuzz replay {file} --alone")
    document.write(report(file, reproducer, check, rows, told))
    raise click.exceptions.Exit(0 if check.reproduced() else 1)


def check_lines(reproducer: Reproducer, check: Recheck) -> Iterator[str]:
    """What came out of the check, and what to do if it is not what the file says."""
    other = check.model_recorded != check.model_now
    if other:
        yield f"made with model {check.model_recorded}, this is model {check.model_now}"
    if check.reproduced():
        yield f"reproduced exactly: {reproducer.finding.verdict}, trace {check.digest_now}"
        return
    shown = "the finding shows, but by another trace" if check.finding_shows else "the finding does not show"
    yield f"NOT reproduced: {shown} ({check.digest_now}, recorded {check.digest_recorded})"
    if check.diverging_step:
        recorded, now = (step or "the end" for step in (check.step_recorded, check.step_now))
        yield f"first diverging step: {check.diverging_step}, recorded as '{recorded}', now '{now}'"
        yield "(a step is: actor, operation, point, how often there)"
    else:
        yield "the leader took the recorded steps; what the models did in them differs"
    if other:
        yield "check out the sources it was made with, or search again with 'mmufuzz run'"
    else:
        yield "the same model must give the same trace: the file was changed by hand, or this is a bug of mmufuzz"


def report(file: str, reproducer: Reproducer, check: Recheck, rows: list[Row], told: Chances | None) -> ReplayReport:
    finding = reproducer.finding
    return ReplayReport(
        file=file,
        reproduced=check.reproduced(),
        signature=reproducer.signature,
        verdict=finding.verdict,
        kind=finding.kind,
        what=finding.what,
        patches=finding.patches,
        story=finding.story,
        recheck=check,
        first_difference=first_difference(rows),
        rows=tuple(rows),
        chances=told,
    )
