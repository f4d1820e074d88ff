# SPDX-License-Identifier: GPL-2.0-only
"""The dispatcher of a campaign: one transaction that anybody may run at any time.

It folds and settles what has come in, ends the campaign when its budget is spent, and says which tasks to publish.
Nobody owns it: whoever holds the campaign's row dispatches, so that there is no dispatcher to lose.  Who dies after the
transaction and before publishing loses nothing either, since a task is published again

    - when nobody began it for `resend_seconds`: the message is lost, or its queue is long,
    - when the worker that began it is dead,
    - when it is over its time limit.

A task that thereby runs twice is stored once.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, or_, select, update
from sqlalchemy.engine import RowMapping

from db.campaigns import CampaignRow
from db.handout import TaskName, new_task
from db.judgements import fold, settle
from db.liveness import WorkerRow, live_workers
from db.schema import (
    SEVERITY,
    CampaignState,
    CampaignTable,
    FindingTable,
    FleetTable,
    TaskKind,
    TaskState,
    TaskTable,
)
from db.session import transaction, utc_now
from db.tasks import batch_seeds
from fuzzer.judge.finding import Verdict
from reference_mmu.record import Record

# Tasks of a kind published per slot: one in hand, and a few that wait for it, since each dispatch takes some hundredths
# of a second that a lone slot waits for.
_PER_SLOT: Final = 4


class Patience(Record):
    """When a task is published again."""

    resend_seconds: float
    """A published task is published again if nobody began it for so long."""
    limit_seconds: float
    """A begun task is published again if it was begun so long ago: beyond its time limit, retries included."""


class Dispatched(Record):
    """`publish`: the tasks to send to workers of `model_version`; nobody is there to take them if `slots` is 0.
    `task_seconds`: how long each may take, if the campaign has a limit of its own."""

    campaign: int
    model_version: str
    slots: int
    publish: tuple[TaskName, ...]
    ended: CampaignState | None = None
    task_seconds: int | None = None


def running_campaigns(engine: Engine) -> list[int]:
    """The campaigns to dispatch, oldest first.  Raises StoreError."""
    query = (
        select(CampaignTable.id)
        .join(FleetTable, FleetTable.campaign_id == CampaignTable.id)
        .where(CampaignTable.state == CampaignState.RUNNING.value)
    )
    with transaction(engine, "read") as connection:
        return list(connection.execute(query.order_by(CampaignTable.id)).scalars())


def dispatch(
    engine: Engine, campaign: int, patience: Patience, now: Callable[[], datetime] = utc_now
) -> Dispatched | None:
    """Move a campaign on; None if somebody else does so now, or it does not run.  Raises StoreError."""
    with transaction(engine, "write") as connection:
        query = (
            select(FleetTable)
            .join(CampaignTable, CampaignTable.id == FleetTable.campaign_id)
            .where(FleetTable.campaign_id == campaign, CampaignTable.state == CampaignState.RUNNING.value)
            .with_for_update(of=FleetTable, skip_locked=True)
        )
        if connection.execute(query).first() is None:
            return None
        at = now()
        moved = _Dispatch(connection, campaign, patience, at)
        fold(connection, campaign, moved.slots, at)
        settle(connection, campaign, moved.slots, at)
        return moved.run()


class _Dispatch:
    """The transaction once the campaign's row is locked; before `run` everything is to be folded and settled."""

    def __init__(self, connection: Connection, campaign: int, patience: Patience, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.patience = patience
        row = connection.execute(select(CampaignTable).where(CampaignTable.id == campaign)).mappings().one()
        self.campaign = msgspec.convert(dict(row), CampaignRow)
        self.fleet: RowMapping = (
            connection.execute(select(FleetTable).where(FleetTable.campaign_id == campaign)).mappings().one()
        )
        workers = live_workers(connection, now)
        self.workers: list[WorkerRow] = [w for w in workers if w.model_version == self.campaign.model_version]
        self.slots = sum(worker.slots for worker in self.workers)

    def run(self) -> Dispatched:
        if self.slots and self.fleet["running_since"] is None:
            self.change(running_since=self.now)
        ended = self.end()
        if ended is not None or not self.slots:
            return self.dispatched((), ended)
        names: list[TaskName] = []
        for kind in (TaskKind.MINIMIZE, TaskKind.JUDGE):
            names += self.due(kind, self.slots * _PER_SLOT)
        slots_max = self.fleet["slots_max"]
        room = self.slots * _PER_SLOT if slots_max is None else min(slots_max, self.slots * _PER_SLOT)
        names += self.due(TaskKind.BATCH, room)
        names += self.new_batches(room - self.in_flight(TaskKind.BATCH))
        return self.dispatched(tuple(names), None)

    def dispatched(self, names: tuple[TaskName, ...], ended: CampaignState | None) -> Dispatched:
        model, seconds = self.campaign.model_version, self.fleet["task_seconds"]
        return Dispatched(self.campaign.id, model, self.slots, names, ended, seconds)

    def end(self) -> CampaignState | None:
        """End the campaign if its budget is spent and all that it found is settled, or at the first new regression."""
        found = self.fleet["until_regression"] and self.has_regression()
        if not found and (not self.spent() or self.has_open_tasks() or not self.is_settled()):
            return None
        end_fleet(self.connection, self.campaign.id, CampaignState.FINISHED, self.now)
        return CampaignState.FINISHED

    def spent(self) -> bool:
        """Is no further batch to be handed out?"""
        size, number = self.fleet["batch_programs"], self.fleet["next_number"]
        if not batch_seeds(self.campaign, size, number):
            return True
        if self.campaign.budget_seconds is None:
            return False
        return ran_seconds(self.fleet, self.now) >= self.campaign.budget_seconds

    def has_regression(self) -> bool:
        """Is there one that nobody knows yet?"""
        query = select(FindingTable.id).where(
            FindingTable.campaign_id == self.campaign.id,
            FindingTable.severity == SEVERITY[Verdict.REGRESSION],
            FindingTable.known.is_(None),
        )
        return self.connection.execute(query.limit(1)).first() is not None

    def has_open_tasks(self) -> bool:
        query = select(TaskTable.id).where(self.open_tasks()).limit(1)
        return self.connection.execute(query).first() is not None

    def is_settled(self) -> bool:
        """Is everything folded and settled? Both stop after a piece of work, and then there is more to do."""
        fleet = select(FleetTable).where(FleetTable.campaign_id == self.campaign.id)
        row = self.connection.execute(fleet).mappings().one()
        return bool(row["next_folded"] == row["next_number"] and row["next_settled"] == row["next_judgement"])

    def due(self, kind: TaskKind, room: int) -> list[TaskName]:
        """Tasks that are to be published, or published again, as far as there is room."""
        room -= self.in_flight(kind)
        if room <= 0:
            return []
        query = (
            select(TaskTable.id, TaskTable.number)
            .where(self.open_tasks(), TaskTable.kind == kind.value, self.is_due())
            .order_by(TaskTable.number)
            .limit(room)
        )
        rows = self.connection.execute(query).all()
        published = TaskTable.id.in_(row.id for row in rows)
        self.connection.execute(update(TaskTable).where(published).values(published_at=self.now))
        return [TaskName(self.campaign.id, kind, row.number) for row in rows]

    def in_flight(self, kind: TaskKind) -> int:
        query = select(func.count()).where(self.open_tasks(), TaskTable.kind == kind.value, ~self.is_due())
        return self.connection.execute(query).scalar_one()

    def new_batches(self, room: int) -> list[TaskName]:
        names: list[TaskName] = []
        number, size = self.fleet["next_number"], self.fleet["batch_programs"]
        while len(names) < room and not self.spent_at(number + len(names), size):
            names.append(TaskName(self.campaign.id, TaskKind.BATCH, number + len(names)))
        if names:
            rows = [new_task(name) | {"published_at": self.now} for name in names]
            self.connection.execute(insert(TaskTable), rows)
            self.change(next_number=number + len(names))
        return names

    def spent_at(self, number: int, size: int) -> bool:
        return self.spent() or not batch_seeds(self.campaign, size, number)

    def open_tasks(self) -> ColumnElement[bool]:
        return (TaskTable.campaign_id == self.campaign.id) & (TaskTable.state == TaskState.OPEN.value)

    def is_due(self) -> ColumnElement[bool]:
        published, started = TaskTable.published_at, TaskTable.started_at
        waits = or_(started.is_(None), started < published)
        return or_(
            published.is_(None),
            waits & (published < self.now - timedelta(seconds=self.patience.resend_seconds)),
            ~waits & TaskTable.worker.not_in([worker.name for worker in self.workers]),
            ~waits & (started < self.now - timedelta(seconds=self.patience.limit_seconds)),
        )

    def change(self, **values: object) -> None:
        connection = self.connection
        connection.execute(update(FleetTable).where(FleetTable.campaign_id == self.campaign.id).values(values))


def ran_seconds(fleet: RowMapping, now: datetime) -> float:
    """For how long a campaign has been running: not paused, and met by a worker."""
    since: datetime | None = fleet["running_since"]
    ran = float(fleet["ran_seconds"])
    return ran if since is None else ran + (now - since).total_seconds()


def end_fleet(connection: Connection, campaign: int, state: CampaignState, now: datetime) -> None:
    """Stop the clock of a campaign and give it another state; of one that has ended, drop what was handed out.

    What is being run at this moment will be stored all the same.  The caller holds the lock of the campaign.
    """
    fleet = FleetTable.campaign_id == campaign
    row = connection.execute(select(FleetTable).where(fleet)).mappings().one()
    values = {"ran_seconds": ran_seconds(row, now), "running_since": None}
    connection.execute(update(FleetTable).where(fleet).values(values))
    connection.execute(update(CampaignTable).where(CampaignTable.id == campaign).values(state=state.value))
    if state is not CampaignState.PAUSED:
        handed_out = (TaskTable.campaign_id == campaign) & (TaskTable.state == TaskState.OPEN.value)
        connection.execute(delete(TaskTable).where(handed_out))
