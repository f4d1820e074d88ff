# SPDX-License-Identifier: GPL-2.0-only
"""Who is there, who fell silent, and what each is at; and how a campaign fares."""

from datetime import timedelta

import msgspec
from sqlalchemy import Engine, insert

from db.dispatch import Patience, dispatch
from db.fleets import FleetPlan, Fleets
from db.handout import TaskName
from db.liveness import WorkerRow, note_worker
from db.pace import LATEST_MAX, LATEST_OVER, pace
from db.roster import roster
from db.schema import BatchTable, TaskKind
from db.store import Store
from db.tasks import Tasks
from fuzzer.judge.finding import Verdict
from tests.db.stored import MODEL, NIGHTLY, SECOND, VIOLATION, Clock, new_campaign

PATIENCE = Patience(60, 300)


def worker(clock: Clock, name: str, slots: int = 2) -> WorkerRow:
    return WorkerRow(name, "host", 7, slots, MODEL, clock(), clock())


def test_the_live_ones_come_first_with_what_they_run(file_engine: Engine, clock: Clock) -> None:
    fleets, tasks = Fleets(file_engine, clock), Tasks(file_engine, clock)
    campaign = fleets.create(FleetPlan(10, False, None), msgspec.structs.replace(NIGHTLY, budget_programs=100))
    note_worker(file_engine, worker(clock, "a-dead"))
    clock.pass_by(seconds=60)
    note_worker(file_engine, worker(clock, "busy"))
    note_worker(file_engine, worker(clock, "idle", slots=1))
    assert dispatch(file_engine, campaign, PATIENCE, clock)
    for number in (0, 1):
        assert tasks.begin(TaskName(campaign, TaskKind.BATCH, number), "busy", MODEL)
        clock.pass_by(seconds=1)
    listed = roster(file_engine, clock())
    assert [(one.worker.name, one.is_alive) for one in listed] == [("busy", True), ("idle", True), ("a-dead", False)]
    busy = listed[0]
    assert [(task.campaign, task.kind, task.number, task.starts) for task in busy.tasks] == [
        (campaign, TaskKind.BATCH, 0, 1),
        (campaign, TaskKind.BATCH, 1, 1),
    ]
    assert busy.tasks[0].started_at == clock() - timedelta(seconds=2)
    assert listed[1].tasks == ()


def test_a_task_that_was_given_to_others_is_nobodys(file_engine: Engine, clock: Clock) -> None:
    fleets, tasks = Fleets(file_engine, clock), Tasks(file_engine, clock)
    campaign = fleets.create(FleetPlan(10, False, None), msgspec.structs.replace(NIGHTLY, budget_programs=10))
    note_worker(file_engine, worker(clock, "lost"))
    assert dispatch(file_engine, campaign, PATIENCE, clock)
    assert tasks.begin(TaskName(campaign, TaskKind.BATCH, 0), "lost", MODEL)
    assert len(roster(file_engine, clock())[0].tasks) == 1
    clock.pass_by(seconds=60)
    note_worker(file_engine, worker(clock, "next"))
    assert dispatch(file_engine, campaign, PATIENCE, clock)
    assert [one.tasks for one in roster(file_engine, clock())] == [(), ()]


def test_the_pace_of_nothing(file_engine: Engine) -> None:
    empty = pace(file_engine, 1)
    assert (empty.batches, empty.programs, empty.coverage, empty.coverage_before) == (0, 0, 0, None)
    assert (empty.last_stored, empty.latest, empty.last_found) == (None, (), None)


def test_a_campaigns_pace(file_engine: Engine, clocked_store: Store, clock: Clock) -> None:
    new_campaign(clocked_store, VIOLATION)
    campaign = new_campaign(clocked_store, VIOLATION, SECOND)
    rows = [
        {
            "campaign_id": campaign, "number": n, "seed_first": n, "programs": 2, "steps": 3, "seconds": 0.5,
            "coverage": 100 + min(n, 800), "state": "done", "stored_at": clock() + timedelta(seconds=n),
        }
        for n in range(1, 1000)
    ]  # fmt: skip
    with file_engine.begin() as connection:
        connection.execute(insert(BatchTable), rows)
    told = pace(file_engine, campaign)
    assert (told.batches, told.programs, told.steps) == (1000, 1000 + 999 * 2, 25_000 + 999 * 3)
    assert (told.coverage, told.coverage_before) == (900, 849)
    assert [batch.number for batch in told.latest] == list(range(999, 999 - int(LATEST_OVER.total_seconds()) - 1, -1))
    assert len(told.latest) <= LATEST_MAX
    assert told.last_stored == told.latest[0].stored_at
    assert told.last_found == clock()
    assert [n.findings for n in told.verdicts if n.name == Verdict.REGRESSION] == [2]
