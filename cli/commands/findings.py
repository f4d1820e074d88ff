# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz findings`: what the database holds."""

from datetime import datetime
from pathlib import Path

import click
from rich.table import Table

from cli.curating import COMMANDS
from cli.document import Document, check_writable, json_option, write_whole
from cli.options import campaign_option, findings_database_option
from cli.parameters import existing_engine
from db.merges import Merges
from db.session import DEFAULT_URL, StoreError
from db.store import FindingRow, Store
from db.traces import TraceRow
from fuzzer.judge.finding import Finding, Occurrence, Verdict
from fuzzer.known_holes import HOLES
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse

_ADVICE = "check that --db names the database of 'mmufuzz run'"


class ListedFinding(Record):
    """One finding in the JSON of `findings`. Sizes are null without a minimized reproducer."""

    campaign: int
    signature: str
    finding: Finding
    state: str
    count: int
    batches: int
    first_seed: int
    first_seen: datetime
    last_seen: datetime
    operations: int | None
    preemptions: int | None
    digest: str | None
    known: str
    """The known hole that it is, "" if it is none."""


class FindingsReport(Record):
    """The JSON of `findings`; `unjudged` is what workers saw and nobody has judged yet."""

    findings: tuple[ListedFinding, ...]
    unjudged: tuple[TraceRow, ...]


class FindingReport(Record):
    """The JSON of `findings show`; `reproducer` is the file it was written to."""

    finding: ListedFinding
    occurrences: tuple[tuple[int, int], ...]
    """(first program seed, programs) of the batches that showed it."""
    reproducer: str | None


@click.group(invoke_without_command=True)
@findings_database_option
@click.option("--verdict", type=click.Choice([str(verdict) for verdict in Verdict]), help="With this verdict only.")
@campaign_option
@click.option("--limit", type=click.IntRange(1, 10**6), default=100, show_default=True, help="At most so many.")
@json_option
@click.pass_context
def findings(
    ctx: click.Context, database: str | None, verdict: str | None, campaign: int | None, limit: int, document: Document
) -> None:
    """List the findings in the database, the most severe first; known holes come below what both models have.

    \b
    Examples:
      mmufuzz findings --verdict fixed
      mmufuzz findings --campaign 3 --json -
      mmufuzz findings show SIGNATURE --reproducer story.json
      mmufuzz findings state SIGNATURE fixed --why "commit 0123abc"
    """
    ctx.obj = database
    if ctx.invoked_subcommand is not None:
        document.belongs_after(ctx.invoked_subcommand)
        return
    store = Store(existing_engine(database or DEFAULT_URL))
    with refuse(StoreError, advice=_ADVICE):
        rows = store.findings(campaign, Verdict(verdict) if verdict else None, limit + 1)
        unjudged = [] if verdict else store.unjudged(campaign, limit)
    console = document.console()
    if rows:
        console.print(make_table(rows[:limit]))
        console.print("details:  mmufuzz findings show SIGNATURE")
    elif not unjudged:
        console.print(
            "no such finding; all are listed without --verdict and --campaign, 'mmufuzz run' searches for more"
        )
    if len(rows) > limit:
        console.print(f"there are more than {limit}: raise --limit")
    for trace in unjudged:
        console.print(unjudged_line(trace))
    document.write(FindingsReport(tuple(map(listed, rows[:limit])), tuple(unjudged)))


@findings.command()
@click.argument("signature")
@findings_database_option
@campaign_option
@click.option("--reproducer", "target", type=click.Path(path_type=Path), help="Write its reproducer to this file.")
@json_option
@click.pass_context
def show(
    ctx: click.Context,
    signature: str,
    database: str | None,
    campaign: int | None,
    target: Path | None,
    document: Document,
) -> None:
    """Show one finding, and get its reproducer.

    Of several campaigns that have it, the newest counts unless one is named.

    \b
    Example:
      mmufuzz findings show SIGNATURE --reproducer story.json
    """
    if target is not None:
        check_writable(target, "--reproducer")
    engine = existing_engine(database or ctx.obj or DEFAULT_URL)
    store = Store(engine)
    with refuse(StoreError, advice=_ADVICE):
        row = store.finding(signature, campaign)
        if row is None:
            raise BadInput(f"no finding {signature!r}; 'mmufuzz findings' lists the signatures")
        occurrences = store.occurrences(signature, row.campaign)
        body = store.reproducer(signature, row.campaign)
        merged = Merges(engine).into(signature)
    if target is not None:
        if body is None:
            raise BadInput(f"finding {signature!r} has no reproducer; search again from seed {row.first_seed}")
        with refuse(OSError, what=f"--reproducer {target} cannot be written", advice="name another file"):
            write_whole(target, body)
    console = document.console()
    for label, text in details(row, occurrences):
        console.print(f"{label:<12} {text}")
    for one in merged:
        console.print(f"{'merged':<12} {one.signature}: {one.why} ({one.who})")
    if target is not None:
        console.print(f"written to {target}; tell it with:  mmufuzz replay {target}")
    elif body is not None:
        console.print(f"get its reproducer with:  mmufuzz findings show {signature} --reproducer FILE")
    seen = tuple((occurrence.program_seed, occurrence.count) for occurrence in occurrences)
    document.write(FindingReport(listed(row), seen, None if target is None else str(target)))


for command in COMMANDS:
    findings.add_command(command)


def make_table(rows: list[FindingRow]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("verdict", "state", "what", "patches", "known", "signature"):
        table.add_column(name, overflow="fold")
    for name in ("count", "ops", "preempt", "run"):
        table.add_column(name, justify="right")
    for row in rows:
        finding, reproducer = row.finding, row.reproducer
        sizes = (reproducer.operations, reproducer.preemptions) if reproducer else (None, None)
        table.add_row(
            str(finding.verdict),
            str(row.state),
            finding.what,
            ", ".join(finding.patches) or "-",
            row.known or "-",
            row.signature,
            str(row.count),
            *("-" if size is None else str(size) for size in sizes),
            str(row.campaign),
        )
    return table


def unjudged_line(row: TraceRow) -> str:
    """E.g. "not judged yet: divergence fewer-flushes (age, old, tdp, 4), 3 programs, first seed 17, run 1"."""
    trace = row.trace
    what = f"{trace.kind} {trace.what} ({', '.join(trace.where)})"
    programs = f"{row.count} programs" if row.count else "not counted yet"
    return f"not judged yet: {what}, {programs}, first seed {row.first_seed}, run {row.campaign}"


def details(row: FindingRow, occurrences: list[Occurrence]) -> list[tuple[str, str]]:
    """A finding as labelled lines."""
    finding, reproducer = row.finding, row.reproducer
    seeds = ", ".join(str(occurrence.program_seed) for occurrence in occurrences[:10])
    stored = "none"
    if reproducer is not None and reproducer.minimized:
        stored = f"{reproducer.operations} operations, {reproducer.preemptions} preemptions, trace {reproducer.digest}"
    elif reproducer is not None:
        stored = f"{reproducer.bytes_total} bytes, not minimized"
    return [
        ("signature", row.signature),
        (str(finding.verdict), f"{finding.what}: {finding.story}"),
        ("patches", f"{', '.join(finding.patches) or 'none'} ({finding.direction})"),
        ("side", finding.side),
        ("sites", " / ".join(finding.sites)),
        ("seen", f"{row.count} times in {row.batches} batches of campaign {row.campaign}"),
        ("seeds", f"{seeds}{', …' if len(occurrences) > 10 else ''}"),
        ("first seen", f"{row.first_seen:%Y-%m-%d %H:%M:%S} UTC"),
        ("last seen", f"{row.last_seen:%Y-%m-%d %H:%M:%S} UTC"),
        ("state", str(row.state)),
        ("reproducer", stored),
        *([("known", f"{row.known}: {_where(row.known)}")] if row.known else []),
    ]


def _where(known: str) -> str:
    """Where a hole is written up; another version may have named it."""
    return f"see {HOLES[known].page}" if known in HOLES else "this version does not list it"


def listed(row: FindingRow) -> ListedFinding:
    reproducer = row.reproducer
    return ListedFinding(
        campaign=row.campaign,
        signature=row.signature,
        finding=row.finding,
        state=str(row.state),
        count=row.count,
        batches=row.batches,
        first_seed=row.first_seed,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        operations=reproducer.operations if reproducer else None,
        preemptions=reproducer.preemptions if reproducer else None,
        digest=reproducer.digest if reproducer else None,
        known=row.known,
    )
