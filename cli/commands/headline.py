# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz headline`: what was published about the changelog in numbers, counted in the model."""

import math
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli.document import Document, json_option
from cli.progress import spaced
from fuzzer.compiled import use_compiled_core
from fuzzer.headline import (
    MARKED_TABLES,
    PUBLICATIONS,
    PUBLISHED_FLUSHES,
    PUBLISHED_SECONDS,
    TABLES,
    VCPUS,
    WORKLOADS,
    YIELDS,
    Costs,
    MarkCounts,
    Published,
    ZapCounts,
    count_marks,
    resched_every,
    zap_collapsible,
)
from reference_mmu.changelog.semantics import NEW, NO_STRUCT_PAGE, OLD
from reference_mmu.record import Record

SCALE_MAX = 1 << 18  # page tables; 1.2 GiB
_COSTS = Costs()


class SideReport(Record):
    """One semantics: what the model counted, what that would take, and what the commit's mail says."""

    semantics: str
    flushes: int
    yields: int
    page_tables: int
    modelled_seconds: float
    published_flushes: int
    published_seconds: float


class HeadlineReport(Record):
    """The JSON of `headline`. `time_ratio` and `published_time_ratio` are old / new. `marked_tables`: on so many page
    tables `marks` were counted."""

    vcpus: int
    page_tables: int
    resched_every: int
    costs: Costs
    old: SideReport
    new: SideReport
    time_ratio: float
    published_time_ratio: float
    marked_tables: int
    marks: tuple[MarkCounts, ...]
    published: tuple[Published, ...]
    as_expected: bool
    seconds: float
    core: str


class _Microseconds(click.FloatRange):
    """A finite number that a report can show; click's own range lets NaN through."""

    def __init__(self) -> None:
        super().__init__(0, 1e9)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        given = super().convert(value, param, ctx)
        if math.isnan(given):
            self.fail("nan is not in the range 0<=x<=1000000000.", param, ctx)
        return given


@click.command()
@click.option(
    "--scale",
    "tables",
    type=click.IntRange(1, SCALE_MAX),
    default=TABLES,
    show_default=True,
    help="Page tables to zap; the published workload has 131072.",
)
@click.option(
    "--resched-every",
    "every",
    type=click.IntRange(0, SCALE_MAX),
    help=f"Page tables between two yields of the walk, 0: none (default: for {YIELDS} yields).",
)
@click.option("--flush-us", type=_Microseconds(), default=_COSTS.flush_us, help="Cost of a remote flush.")
@click.option("--table-us", type=_Microseconds(), default=_COSTS.table_us, help="Cost of the rest, per page table.")
@json_option
def headline(tables: int, every: int | None, flush_us: float, table_us: float, document: Document) -> None:
    """Count the remote flushes of switching dirty logging off, before and after batch-collapsible-zap-flush, and the
    marks on struct page that the series no-struct-page saves.

    The commit's mail gives 131072 before and 76 after for 64 vCPUs of 4 GiB on 2 MiB pages. Page tables have the
    real geometry and are zapped by the model's own flow. Before, each of them costs a flush; after, each yield of
    the walk costs one, and so does the end of the one root's walk. How often it yielded was not published: the
    default spreads 75 yields evenly.

    Modelled time is flushes x --flush-us + page tables x --table-us. Their defaults, 73 and 37 microseconds, are
    solved from the two published times: at full size those come out again by construction.

    Marks are counted in a GiB of 2 MiB pages that are split, in the two workloads that the cover letter of the series
    names: clearing the dirty bits of a slot, and zapping its SPTEs when dirty logging is switched off. It says that
    these get measurably faster, and gives no number; the first posting of the idea says that all 512 * 512 SPTEs of a
    huge page mark it dirty and accessed.

    \b
    Full size: half a minute compiled, six minutes interpreted, 0.6 GiB.
    Interpreted, try:  mmufuzz headline --scale 4096

    Exit codes: 0 the counts are as published, 1 they are not, 2 bad input.
    """
    console = document.console()
    costs = Costs(flush_us, table_us)
    period = resched_every(tables) if every is None else every
    started = time.monotonic()
    with console.status(f"{tables} page tables in old, then in new ({use_compiled_core().reason})"):
        old = zap_collapsible(NO_STRUCT_PAGE, tables, period)
        new = zap_collapsible(NEW, tables, period)
    marked_tables = min(tables, MARKED_TABLES)
    with console.status(f"marks on struct page, {marked_tables} page tables"):
        bases = (OLD, NO_STRUCT_PAGE, NEW)
        marks = tuple(count_marks(base, workload, marked_tables) for workload in WORKLOADS for base in bases)
    seconds = round(time.monotonic() - started, 3)
    report = HeadlineReport(
        vcpus=VCPUS,
        page_tables=tables,
        resched_every=period,
        costs=costs,
        old=side_report(old, costs, 0),
        new=side_report(new, costs, 1),
        time_ratio=ratio(old.seconds(costs), new.seconds(costs)),
        published_time_ratio=ratio(*PUBLISHED_SECONDS),
        marked_tables=marked_tables,
        marks=marks,
        published=PUBLICATIONS,
        as_expected=old.flushes == tables and new.flushes == new.yields + 1 and all(map(is_as_published, marks)),
        seconds=seconds,
        core="compiled" if use_compiled_core().compiled else "interpreted",
    )
    print_report(console, report)
    document.write(report)
    click.get_current_context().exit(0 if report.as_expected else 1)


def side_report(side: ZapCounts, costs: Costs, place: int) -> SideReport:
    return SideReport(
        semantics=side.semantics,
        flushes=side.flushes,
        yields=side.yields,
        page_tables=side.tables,
        modelled_seconds=round(side.seconds(costs), 6),
        published_flushes=PUBLISHED_FLUSHES[place],
        published_seconds=PUBLISHED_SECONDS[place],
    )


def is_as_published(counts: MarkCounts) -> bool:
    """Before the series each SPTE is marked dirty, and when it is zapped accessed, too; after it none is."""
    marked = counts.sptes if counts.semantics == "old" else 0
    accessed = marked if counts.workload == "zap SPTEs" else 0
    return (counts.dirty_marks, counts.accessed_marks) == (marked, accessed)


def ratio(old: float, new: float) -> float:
    """old / new, 0 where that is not defined: costs may be set to nothing."""
    return round(old / new, 3) if new else 0.0


def print_report(console: Console, report: HeadlineReport) -> None:
    table = Table("", "old", "new", "old / new")
    for column in table.columns[1:]:
        column.justify = "right"
    old, new = report.old, report.new
    flushes = (spaced(old.flushes), spaced(new.flushes), f"{ratio(old.flushes, new.flushes):.1f}")
    published = [spaced(count) for count in PUBLISHED_FLUSHES]
    table.add_row("remote flushes", *flushes)
    table.add_row("published", *published, f"{ratio(*PUBLISHED_FLUSHES):.1f}")
    table.add_row("yields of the walk", spaced(old.yields), spaced(new.yields), "")
    table.add_row(
        "modelled time, s", f"{old.modelled_seconds:.3f}", f"{new.modelled_seconds:.3f}", f"{report.time_ratio:.2f}"
    )
    seconds = [f"{value:.3f}" for value in PUBLISHED_SECONDS]
    table.add_row("published, s", *seconds, f"{report.published_time_ratio:.2f}")
    console.print(
        f"{spaced(report.page_tables)} page tables of 512 entries, {report.vcpus} vCPUs, one root; a yield every"
        f" {report.resched_every} page tables"
    )
    console.print(table)
    console.print(
        "new: one flush per yield and one at the end of the root's walk; how often the published run yielded is not"
        f" known, the default spacing makes {YIELDS} yields of its {PUBLISHED_FLUSHES[1]} flushes"
    )
    console.print(
        f"modelled time = flushes x {report.costs.flush_us:.1f} us + page tables x {report.costs.table_us:.1f} us;"
        " the default costs are solved from the published times"
    )
    if report.page_tables != TABLES:
        console.print(f"scaled: the published figures are for {spaced(TABLES)} page tables")
    console.print()
    print_marks(console, report)
    for figure in report.published:
        console.print(f"{figure.how}: {figure.figure}: {figure.value} ({figure.source})")
    console.print(f"{report.seconds:.1f} s, {report.core}")


def print_marks(console: Console, report: HeadlineReport) -> None:
    """One line for each workload and semantics."""
    names = ("workload", "semantics", "pages looked up", "marked dirty", "accessed", "SPTEs stored", "iterator checks")
    table = Table(*names)
    for column in table.columns[2:]:
        column.justify = "right"
    for counts in report.marks:
        marks = (counts.page_lookups, counts.dirty_marks, counts.accessed_marks)
        work = (counts.sptes_stored, counts.iterator_checks)
        table.add_row(counts.workload, counts.semantics, *map(spaced, (*marks, *work)))
    console.print(f"{spaced(report.marks[0].sptes)} SPTEs in {report.marked_tables} page tables")
    console.print(table)
