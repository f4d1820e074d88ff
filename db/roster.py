# SPDX-License-Identifier: GPL-2.0-only
"""The workers as people see them: those that are there, those that fell silent, and what each of them is at."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Engine, or_, select

from db.liveness import ALIVE_SECONDS, WorkerRow
from db.schema import TaskKind, TaskState, TaskTable, WorkerTable
from db.session import transaction
from reference_mmu.record import Record


class RunningTask(Record):
    """A task that a worker began and has not stored yet; `starts` counts how often anybody did."""

    campaign: int
    kind: TaskKind
    number: int
    started_at: datetime
    starts: int


class Rostered(Record):
    """A worker. One that left in good order is not listed; one that died is, for a week."""

    worker: WorkerRow
    is_alive: bool
    tasks: tuple[RunningTask, ...]


def roster(engine: Engine, now: datetime) -> list[Rostered]:
    """Every worker that is known: the live ones first, by name; then the others, the last seen first.

    Raises StoreError.
    """
    began = (TaskTable.state == TaskState.OPEN.value) & TaskTable.started_at.is_not(None)
    # One that was published again after it was begun waits for another worker.
    current = or_(TaskTable.published_at.is_(None), TaskTable.started_at >= TaskTable.published_at)
    place = (TaskTable.campaign_id.label("campaign"), TaskTable.kind, TaskTable.number)
    running = select(*place, TaskTable.started_at, TaskTable.starts, TaskTable.worker).where(began, current)
    with transaction(engine, "read") as connection:
        rows = connection.execute(select(WorkerTable)).mappings().all()
        tasks = connection.execute(running.order_by(TaskTable.started_at)).mappings().all()
    at: dict[str, list[RunningTask]] = {}
    for task in tasks:
        at.setdefault(task["worker"], []).append(msgspec.convert(dict(task), RunningTask, strict=False))
    alive_since = now - timedelta(seconds=ALIVE_SECONDS)
    workers = (msgspec.convert(dict(row), WorkerRow) for row in rows)
    listed = [Rostered(one, one.seen_at > alive_since, tuple(at.get(one.name, ()))) for one in workers]
    return sorted(listed, key=_place)


def _place(one: Rostered) -> tuple[bool, float, str]:
    return not one.is_alive, 0.0 if one.is_alive else -one.worker.seen_at.timestamp(), one.worker.name
