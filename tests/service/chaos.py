# SPDX-License-Identifier: GPL-2.0-only
"""Chaos: a campaign by two workers while workers, broker and database die all the time, and what must hold afterwards.

    python -m tests.service.chaos --minutes 10

What dies next, and when, is drawn from a seed; what that meets depends on the machine, so a seed repeats the disasters
and not the run. The undisturbed run to compare with is one process that hunts the same seeds.
"""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import msgspec
from sqlalchemy import Engine, func, select

from db.fleets import FleetStatus
from db.schema import (
    BatchTable,
    CampaignState,
    FindingTable,
    JudgementTable,
    OccurrenceTable,
    PendingOccurrenceTable,
    SightingTable,
    TaskTable,
)
from db.session import StoreUnavailable, open_database
from db.store import Store
from reference_mmu.record import Record
from tests.cli.shell import COMMAND, environment
from tests.service.fleet import Fleet, Worker
from tests.service.servers import running_servers
from tests.service.waiting import let_pass, wait_until

WORKERS = 2
SLOTS = 1
# Of a disturbed campaign without any disturbance for so long nothing can be left to come.
_QUIET_SECONDS = 600


class Plan(Record):
    """What is run, and how it is disturbed."""

    batches: int
    batch_programs: int
    seed: int
    """Of the disasters; the programs have seeds from 1."""
    pause_batches: tuple[int, int]
    """Between two disasters, at least and at most: what is disturbed is the work, however fast the machine does it."""
    pause_seconds: float
    """At most so long between two disasters, so that a campaign that is recovering is disturbed, too."""
    disasters: int
    """At most so many."""
    core: str = "interpreted"

    @property
    def programs(self) -> int:
        return self.batches * self.batch_programs


class Outcome(Record):
    """What happened, and what is wrong with what came out of it."""

    disasters: dict[str, int]
    seconds: float
    batches: int
    programs: int
    findings: int
    redeliveries: int
    wrong: tuple[str, ...]


class Chaos:
    """The disasters of one campaign."""

    def __init__(self, fleet: Fleet, plan: Plan) -> None:
        self.fleet = fleet
        self.plan = plan
        self.draw = random.Random(plan.seed)
        self.count: Counter[str] = Counter()
        # Workers die more often than servers, which both workers depend on.
        self.kinds: list[Callable[[], None]] = [
            *(self.worker_killed, self.worker_killed, self.worker_killed),
            *(self.search_process_killed, self.search_process_killed, self.search_process_killed),
            *(self.broker_killed, self.broker_forgets_all),
            *(self.database_stopped, self.database_crashed),
        ]
        self.workers: list[Worker] = []

    def run(self, campaign: int) -> None:
        """Disturb the campaign until it has ended or the plan's disasters have happened."""
        self.workers = [self.start_worker() for _ in range(WORKERS)]
        order: list[Callable[[], None]] = []
        while sum(self.count.values()) < self.plan.disasters:
            self.pause(campaign)
            if finished(self.fleet, campaign):
                return
            if not order:  # a shuffled deck, so that a short run has some of each kind, too
                order = self.draw.sample(self.kinds, len(self.kinds))
            disaster = order.pop()
            disaster()
            self.count[disaster.__name__] += 1

    def pause(self, campaign: int) -> None:
        """Until the drawn number of batches has been done, or the time is over."""
        due = batches_done(self.fleet, campaign) + self.draw.randint(*self.plan.pause_batches)
        end = time.monotonic() + self.plan.pause_seconds
        while batches_done(self.fleet, campaign) < due and time.monotonic() < end:
            let_pass(0.01)

    def start_worker(self) -> Worker:
        return self.fleet.start_worker(SLOTS, MMUFUZZ_CORE=self.plan.core)

    def worker_killed(self) -> None:
        """All its processes at once; another one is started in its place."""
        number = self.draw.randrange(WORKERS)
        self.workers[number].kill()
        self.workers[number] = self.start_worker()

    def search_process_killed(self) -> None:
        """Its parent puts another one in its place. A parent that is still starting would give up (Celery's
        WorkerLostError) and leave it to whoever restarts containers, so only one that has done something is met."""
        working = [worker for worker in self.workers if worker.events("task done")]
        processes = self.draw.choice(working).search_processes() if working else []
        if processes:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(self.draw.choice(processes), signal.SIGKILL)

    def broker_killed(self) -> None:
        self.fleet.servers.broker.kill()
        let_pass(self.draw.uniform(0, 2))
        self.fleet.servers.broker.start()

    def broker_forgets_all(self) -> None:
        self.fleet.servers.broker.kill()
        self.fleet.servers.broker.forget()
        let_pass(self.draw.uniform(0, 2))
        self.fleet.servers.broker.start()

    def database_stopped(self) -> None:
        """Orderly: sessions are ended, everything is written."""
        self.fleet.servers.stop_postgres()
        let_pass(self.draw.uniform(0, 5))
        self.fleet.servers.start_postgres()

    def database_crashed(self) -> None:
        self.fleet.servers.crash_postgres()
        let_pass(self.draw.uniform(0, 2))
        self.fleet.servers.start_postgres()


Shown = dict[str, tuple[int, int, str]]
"""Of every signature: programs, first seed, verdict."""


def shown_in(store: Store, campaign: int) -> Shown:
    rows = store.findings(campaign, limit=100_000)
    return {row.signature: (row.count, row.first_seed, str(row.finding.verdict)) for row in rows}


def alone(plan: Plan, folder: Path) -> Shown:
    """What one process finds that nobody disturbs."""
    words = f"run --old no-struct-page --profile tdp --programs {plan.programs} --seed 1 --jobs 1"
    variables = environment() | {"MMUFUZZ_CORE": plan.core}
    run = subprocess.run([*COMMAND, *words.split()], cwd=folder, env=variables, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stderr
    return shown_in(Store(open_database(f"sqlite:///{folder / 'mmufuzz.db'}")), 1)


def disturbed(fleet: Fleet, plan: Plan, expected: Shown) -> Outcome:
    """Run the plan and look at everything that must hold afterwards."""
    campaign = fleet.create(plan.programs, plan.batch_programs)
    chaos = Chaos(fleet, plan)
    began = time.monotonic()
    chaos.run(campaign)
    wait_until(lambda: finished(fleet, campaign), "the campaign recovers and ends", _QUIET_SECONDS)
    status = fleet.fleets.status(campaign)
    ended = [worker.process.args for worker in chaos.workers if worker.process.poll() is not None]
    for worker in chaos.workers:
        worker.kill()
    return Outcome(
        disasters=dict(sorted(chaos.count.items())),
        seconds=time.monotonic() - began,
        batches=status.batches,
        programs=status.programs,
        findings=status.findings,
        redeliveries=status.redeliveries,
        wrong=(*wrongs(fleet.engine, plan, status, expected), *(["a worker ended by itself"] * len(ended))),
    )


def batches_done(fleet: Fleet, campaign: int) -> int:
    while True:
        with suppress(StoreUnavailable):  # its connections died with the database
            return fleet.fleets.status(campaign).batches


def finished(fleet: Fleet, campaign: int) -> bool:
    with suppress(StoreUnavailable):  # its connections died with the database
        return fleet.fleets.status(campaign).campaign.state is CampaignState.FINISHED
    return False


def wrongs(engine: Engine, plan: Plan, status: FleetStatus, expected: Shown) -> list[str]:
    """What is not as it must be after a campaign that was disturbed."""
    found = shown_in(Store(engine), status.campaign.id)
    wrong = [
        f"{name}: {found.get(name)} instead of {expected.get(name)}"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]
    counted = (status.batches, status.programs, status.unjudged)
    if counted != (plan.batches, plan.programs, 0):
        wrong.append(f"batches, programs, not judged: {counted} instead of {(plan.batches, plan.programs, 0)}")
    with engine.begin() as connection:
        batches = select(BatchTable.id).where(BatchTable.campaign_id == status.campaign.id)
        for table, its in (
            (TaskTable, TaskTable.campaign_id == status.campaign.id),
            (SightingTable, SightingTable.batch_id.in_(batches)),
            (PendingOccurrenceTable, PendingOccurrenceTable.batch_id.in_(batches)),
        ):
            left = connection.execute(select(func.count()).select_from(table).where(its)).scalar_one()
            if left:
                wrong.append(f"{left} rows left in {table.__tablename__}")
        for counted_in, *columns in (
            (BatchTable, BatchTable.campaign_id, BatchTable.number),
            (FindingTable, FindingTable.campaign_id, FindingTable.signature),
            (OccurrenceTable, OccurrenceTable.finding_id, OccurrenceTable.batch_id),
            (JudgementTable, JudgementTable.trace_id, JudgementTable.seed),
        ):
            twice = select(func.count()).select_from(counted_in).group_by(*columns).having(func.count() > 1)
            if connection.execute(twice).first() is not None:
                wrong.append(f"duplicates in {counted_in.__tablename__}")
    return wrong


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0), default=10.0, show_default=True, help="Campaigns are begun so long."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the first disasters.")
@click.option("--batches", type=click.IntRange(1), default=200, show_default=True)
@click.option("--batch-programs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--core", type=click.Choice(["compiled", "interpreted"]), default="compiled", show_default=True)
def main(minutes: float, seed: int, batches: int, batch_programs: int, core: str) -> None:
    """The long form: one campaign after the other, each with other disasters."""
    plan = Plan(batches, batch_programs, seed, (2, 12), 8.0, disasters=1_000_000, core=core)
    end = time.monotonic() + minutes * 60
    wrong = False
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as name:
        folder = Path(name)
        expected = alone(plan, folder)
        with running_servers() as servers, Fleet(servers, folder) as fleet:
            while time.monotonic() < end:
                outcome = disturbed(fleet, plan, expected)
                print(msgspec.json.encode(outcome).decode(), flush=True)
                wrong = wrong or bool(outcome.wrong)
                plan = msgspec.structs.replace(plan, seed=plan.seed + 1)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
