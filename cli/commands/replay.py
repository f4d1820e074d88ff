# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz replay`: tell a run step by step. Of a reproducer, check that it still shows what it was made for; of a bare
program, or of the one that a seed draws, judge what it shows."""

from collections.abc import Iterator
from typing import Final

import click

from cli.chance import chance_lines
from cli.document import Document, json_option
from cli.options import run_change_option, strategy_option
from cli.parameters import SpecType, read_file, read_from, read_program
from cli.single_run import Asked, tell_program, tell_seed
from cli.telling import print_telling
from cli.watchdog import watchdog
from fuzzer.judge.finding import Verdict
from fuzzer.known_holes import HOLES, hole_of
from fuzzer.program.profile import PROFILES
from fuzzer.program.rng import SEED_MAX
from fuzzer.recheck import Recheck, recheck
from fuzzer.reproducer import Reproducer
from fuzzer.tell.export.envelope import is_program
from fuzzer.tell.inevitable import Chances, chances
from fuzzer.tell.story import Row, first_difference, patches_alone, tell
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.record import Record
from workers.refusal import BadInput

_STEPS_MAX: Final = 10_000


class ReplayReport(Record):
    """The JSON of `replay` of a reproducer. `first_difference` is the index of the first row in which the models
    differ, -1 if none; `chances` is null without --resample."""

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
    known: str
    """The known hole that it is, "" if it is none."""


@click.command()
@click.argument("file", required=False)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, SEED_MAX),
    help="Seed of the interleaving, and without a FILE of the program.",
)
@click.option(
    "--profile",
    metavar="NAME",
    type=click.Choice(sorted(PROFILES)),
    help="What --seed draws a program from (default: mixed).",
)
@click.option("--old", type=SpecType(), help="Semantics to compare from (default: old).")
@click.option("--new", type=SpecType(), help="Semantics to compare to (default: new).")
@strategy_option
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
def replay(
    file: str | None,
    seed: int | None,
    profile: str | None,
    old: Semantics | None,
    new: Semantics | None,
    strategies: tuple[str, ...] | None,
    alone: bool,
    walks: int | None,
    run_change: bool,
    document: Document,
) -> None:
    """Tell a run step by step: what OLD and what NEW did, side by side.

    Each row is one turn: who ran up to which preemption point, and what each model did on the way. >>> marks the
    first row in which the models differ, !! a broken invariant.

    \b
    Examples:
      mmufuzz replay findings/FILE.json
      mmufuzz replay FILE --alone          without what other patches change
      mmufuzz replay FILE --resample 100   how likely it is from each step on
      mmufuzz replay PROGRAM.json          a program of your own, nobody preempted
      mmufuzz replay PROGRAM.json --seed 7 --strategy pct
      mmufuzz replay --seed 7 --profile aging --old no-struct-page

    A finding (FILE is a reproducer, or an export of one) is also checked: does it show, by the very same trace? One of
    'mmufuzz run --apply' brings its change of the model along, which is code, and runs only with --run-change.

    A program (FILE is JSON with "config" and "actors", as the "program" of a reproducer) need not show anything; what
    it does show is judged. Without --seed OLD leads, and each actor runs until it is done or waits, then the next. With
    --seed or --strategy it is interleaved as seed S of a search would be (S is 0 if it is not said): a strategy is
    drawn, OLD leads if S is even and NEW if it is odd. That is also schedule S of a program uploaded to the dashboard.

    Without a FILE it is program and interleaving number S of 'mmufuzz run' with the same --profile, --old, --new and
    --strategy.

    Exit codes: 0 the same finding by the very same trace, or a run with nothing in it that calls for an explanation;
    1 not reproduced, or a run with a regression or an unexplained difference; 2 bad input.
    """
    asked = Asked(seed, profile, old, new, strategies)
    data = None if file is None else read_file(file)
    if file is not None and data is not None and not is_program(data):
        if asked.options():
            raise BadInput(
                f"{asked.options()[0]} is for a program; {file} says itself what is compared, and how it runs"
            )
        code = tell_reproducer(file, read_from(file, data, run_change), alone, walks, document)
    elif alone or walks is not None or run_change:
        given = "--alone" if alone else "--resample" if walks is not None else "--run-change"
        raise BadInput(f"{given} is for a reproducer, and this is a program; leave it out")
    elif file is None or data is None:
        code = tell_seed(asked, document)
    else:
        code = tell_program(file, read_program(file, data), asked, document)
    raise click.exceptions.Exit(code)


def tell_reproducer(file: str, reproducer: Reproducer, alone: bool, walks: int | None, document: Document) -> int:
    """Tell a finding and check that it shows; returns the exit code. Raises BadInput."""
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
    known = hole_of(reproducer)
    if known:
        console.print(f"a known hole, {known}: see {HOLES[known].page}")
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
    return 0 if check.reproduced() else 1


def check_lines(reproducer: Reproducer, check: Recheck) -> Iterator[str]:
    """What came out of the check, and what to do if it is not what the file says."""
    if check.reproduced():
        # By whatever version of the model: what it was made with does not matter any more.
        yield f"reproduced exactly: {reproducer.finding.verdict}, trace {check.digest_now}"
        return
    other = check.model_recorded != check.model_now
    if other:
        yield f"made with model {check.model_recorded}, this is model {check.model_now}"
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
        known=hole_of(reproducer),
    )
