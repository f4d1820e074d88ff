# SPDX-License-Identifier: GPL-2.0-only
"""A database of 100 000 batches and 10 000 findings on PostgreSQL: how long lists take, and a burst of 1000 findings.

.venv/bin/python -m benchmarks.lists
"""

import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from sqlalchemy import insert, text

from db.batches import store_batch
from db.dispatch import Patience, dispatch
from db.handout import TaskName
from db.judgements import store_judged
from db.liveness import WorkerRow, note_worker
from db.minimals import Minimal, store_minimals
from db.schema import BatchTable, FindingTable, OccurrenceTable, TaskKind
from db.tasks import CauseHead, JudgeWork, MinimizeWork, Tasks
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, Verdict, signature
from fuzzer.judge.seen import Trace
from fuzzer.sighting import Sighting
from reference_mmu.version import model_version
from tests.service.fleet import Fleet
from tests.service.servers import running_servers

_CHUNK = 10_000
_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@click.command()
@click.option("--batches", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--findings", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--burst", type=click.IntRange(1), default=1000, show_default=True)
def main(batches: int, findings: int, burst: int) -> None:
    """Fill a database, and time what people and workers do with it."""
    print(f"load {os.getloadavg()[0]:.1f}")
    with (
        tempfile.TemporaryDirectory(prefix="mmufuzz-") as name,
        running_servers() as servers,
        Fleet(servers, Path(name)) as fleet,
    ):
        store_burst(fleet, burst)
        campaign = fleet.create(10**9)
        fill(fleet, campaign, batches, findings)
        for what, call in lists(fleet, campaign).items():
            timed(what, call)


def lists(fleet: Fleet, campaign: int) -> dict[str, Callable[[], object]]:
    """What the commands of the command line ask the database."""
    store, fleets, name = fleet.store, fleet.fleets, name_of(7)
    return {
        "campaign list": lambda: fleets.statuses(50),
        "campaign show": lambda: (fleets.status(campaign), Tasks(fleet.engine).aside(campaign)),
        "findings": lambda: (store.findings(limit=101), store.unjudged(limit=100)),
        "findings --campaign": lambda: (store.findings(campaign, limit=101), store.unjudged(campaign, limit=100)),
        "findings --verdict": lambda: store.findings(verdict=Verdict.DOCUMENTED, limit=101),
        "findings show": lambda: (store.finding(name), store.occurrences(name), store.reproducer(name)),
    }


def timed(what: str, call: Callable[[], object]) -> None:
    """Print the best and the worst of some calls, after one that plans."""
    call()
    times = []
    for _ in range(7):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    print(f"{what:<20} {min(times) * 1000:6.1f} to {max(times) * 1000:6.1f} ms")


def finding(number: int) -> Finding:
    verdict = list(Verdict)[number % len(Verdict)]
    sites = (f"site-{number}", "-")
    return Finding("violation", "stale-tlb", (), "new", "new", (), "none", verdict, sites, "A stale entry is used.")


def caused(number: int) -> Finding:
    """A finding whose cause no other number has."""
    return msgspec.structs.replace(finding(number), patches=(f"patch-{number}",))


def name_of(number: int) -> str:
    return signature(finding(number))


def fill(fleet: Fleet, campaign: int, batches: int, findings: int) -> None:
    """Insert the rows as workers leave them."""
    with fleet.engine.begin() as connection:
        for first in range(0, batches, _CHUNK):
            numbers = range(first, min(first + _CHUNK, batches))
            connection.execute(insert(BatchTable), [batch_row(campaign, number) for number in numbers])
    for first in range(0, findings, _CHUNK // 10):
        some = range(first, min(first + _CHUNK // 10, findings))
        found = tuple(FoundFinding(finding(number), 3, number, b"{}" * 2000) for number in some)
        fleet.store.record(BatchResult(campaign, batches + first, 1, 10, 100, 0.1, 7, found))
    with fleet.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in (BatchTable, FindingTable, OccurrenceTable):
            connection.execute(text(f"ANALYZE {table.__tablename__}"))


def batch_row(campaign: int, number: int) -> dict[str, object]:
    return {
        "campaign_id": campaign,
        "number": number,
        "seed_first": number * 10,
        "programs": 10,
        "steps": 1000,
        "seconds": 0.1,
        "coverage": 7,
        "state": "done",
        "stored_at": _NOW,
    }


def store_burst(fleet: Fleet, findings: int) -> None:
    """One batch with that many new traces, all of another cause: from the batch to the minimized findings."""
    campaign = fleet.create(findings, batch_programs=findings)
    tasks, began, cpu = Tasks(fleet.engine), time.perf_counter(), time.process_time()
    seeds = range(1, findings + 1)
    seen = tuple(Sighting(Trace("violation", "stale-tlb", (str(seed),)), (seed,)) for seed in seeds)
    worker = WorkerRow("one", "host", 1, 50, model_version(), datetime.now(UTC), datetime.now(UTC))
    moved = True
    while moved:
        note_worker(fleet.engine, msgspec.structs.replace(worker, seen_at=datetime.now(UTC)))
        dispatched = dispatch(fleet.engine, campaign, Patience(60, 300))
        moved = dispatched is not None
        for name in dispatched.publish if dispatched else ():
            perform(fleet, tasks, name, seen)
            if name.kind is TaskKind.BATCH:
                print(f"{findings} traces stored and visible after {time.perf_counter() - began:.1f} s")
    seconds = time.perf_counter() - began
    rows = len(fleet.store.findings(campaign, limit=findings + 1))
    print(f"burst of {rows} findings, from traces to reproducers, stored in {seconds:.1f} s by one process,")
    print(f"of which {time.process_time() - cpu:.1f} s are its own processor time")
    assert rows == findings


def perform(fleet: Fleet, tasks: Tasks, name: TaskName, seen: tuple[Sighting, ...]) -> None:
    """What a worker would do, if finding out took no time."""
    work = tasks.begin(name, "one", model_version())
    if isinstance(work, JudgeWork):
        judged = [caused(one.seed) for one in work.asked]
        store_judged(fleet.engine, name, [one.number for one in work.asked], judged)
    elif isinstance(work, MinimizeWork):
        store_minimals(fleet.engine, name, [minimal(head) for head in work.heads])
    else:
        store_batch(fleet.engine, BatchResult(name.campaign, name.number, 1, len(seen), 100, 0.1, 7, ()), seen)


def minimal(head: CauseHead) -> Minimal:
    return Minimal(head.number, FoundFinding(head.finding, 1, head.seed, b"{}" * 2000), 2, 1, "d")


if __name__ == "__main__":
    main()
