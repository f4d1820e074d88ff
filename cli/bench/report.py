# SPDX-License-Identifier: GPL-2.0-only
"""What a bench measured: the JSON, and the same as tables for people."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from cli.bench.detection import BugTimes, Detection, Overall
from cli.bench.shares import Shares
from cli.bench.speed import Speed
from cli.bench.spread import Spread
from cli.progress import spaced
from reference_mmu.record import Record

_BAR_WIDTH = 40


class BenchReport(Record, kw_only=True):
    """The JSON of `bench`. `speed`: every arm, its ratio to `first`. `against`: the same search in another checkout,
    its ratio to this one. `missing`: arms that could not run, and why. `interrupted`: not everything was measured."""

    core: str
    first: str
    workload: str
    seed: int
    seconds: float
    limit: float
    seeds: int
    arms: dict[str, str]
    speed: tuple[Speed, ...]
    bugs: tuple[BugTimes, ...]
    overall: tuple[Overall, ...]
    against: tuple[Speed, ...]
    against_programs: int
    shares: Shares | None
    missing: tuple[str, ...]
    interrupted: bool


def print_report(console: Console, report: BenchReport) -> None:
    """All that was measured, in the order of the JSON."""
    for line in report.missing:
        console.print(line)
    if report.speed:
        console.print(f"\nIn a second of processor time, profile {report.workload}; in brackets lowest and highest:")
        console.print(speed_table(report.speed, report.arms))
    if report.bugs:
        console.print(
            f"\nSeconds of processor time to the first detection, each search cut off after {report.limit:g}:"
        )
        console.print(bugs_table(report.bugs, report.first))
        for line in overall_lines(report.overall, report.first):
            console.print(line)
    if report.against:
        console.print(f"\nThe same {report.against_programs} programs a repetition in both checkouts:")
        console.print(against_table(report.against))
    if report.shares is not None:
        console.print()
        for line in shares_lines(report.shares):
            console.print(line)
    if report.interrupted:
        console.print("\ninterrupted: what is above was measured, the rest was not")


def speed_table(speeds: tuple[Speed, ...], arms: dict[str, str]) -> Table:
    table = Table("arm", "steps", "programs", "pairs", "of the steps", "what it is")
    for column in table.columns[1:5]:
        column.justify = "right"
    for one in speeds:
        rates = one.steps_per_second, one.programs_per_second, one.pairs_per_second
        cells = [spaced(round(rate.median)) for rate in rates]
        table.add_row(one.name, *cells, ratio_words(one.ratio), arms.get(one.name, ""))
    return table


def ratio_words(ratio: Spread) -> str:
    """Small ratios with the digits that tell them apart."""
    return ratio.words(2 if ratio.median >= 0.1 else 4)


def bugs_table(bugs: tuple[BugTimes, ...], first: str) -> Table:
    """A row per bug and arm."""
    table = Table("bug", "arm", "found", "cut off", "mean", "median", "times the first")
    for column in table.columns[2:]:
        column.justify = "right"
    for bug in bugs:
        for place, one in enumerate(bug.arms):
            table.add_row("" if place else bug.bug, one.name, *cells_of(one, first))
    return table


def cells_of(one: Detection, first: str) -> Iterator[str]:
    time, bound = one.time, ">= " if one.time.at_least else ""
    yield str(time.events)
    yield str(time.censored)
    yield f"{bound}{time.mean:.3g}"
    yield "-" if time.median is None else f"{time.median:.3g}"
    yield "" if one.name == first else "-" if one.ratio is None else f"{bound}{one.ratio:.3g}"


def overall_lines(overall: tuple[Overall, ...], first: str) -> Iterator[str]:
    """E.g. "given-both: 61 times the time of compiled (geometric mean of 10 bugs), at the least 12 (bug)…"."""
    for one in overall:
        bounds = f", {one.at_least} of them lower bounds" if one.at_least else ""
        without = f"; {one.without} bugs have no ratio, since {first} was cut off, too" if one.without else ""
        yield (
            f"{one.name}: {one.geometric_mean:.3g} times the time of {first}, geometric mean over {one.bugs} bugs"
            f"{bounds}; least {one.worst:.3g} ({one.worst_bug}); "
            f"{one.censored} of {one.attempts} searches cut off{without}"
        )


def against_table(speeds: tuple[Speed, ...]) -> Table:
    table = Table("profile", "checkout", "steps/s", "programs/s", "of the other's steps/s")
    for column in table.columns[2:]:
        column.justify = "right"
    for one in speeds:
        rates = [spaced(round(rate.median)) for rate in (one.steps_per_second, one.programs_per_second)]
        table.add_row(one.workload, one.name, *rates, one.ratio.words())
    return table


def shares_lines(shares: Shares) -> Iterator[str]:
    """A bar for each stage, and what it is."""
    yield f"Where the time goes, {spaced(shares.programs)} programs of profile {shares.workload}, nothing known before:"
    for share in shares.shares:
        bar = "█" * round(share.percent * _BAR_WIDTH / 100)
        yield f"{share.stage:<11} {share.percent:5.1f} % {bar:<{_BAR_WIDTH}} {share.about}"
    yield f"{'':<11} {100:5.1f} % = {shares.seconds:.1f} s; judgement falls with every program, as less and less is new"
