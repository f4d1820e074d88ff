# SPDX-License-Identifier: GPL-2.0-only
"""Which workers are there: each says so every few seconds."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, delete, select

from db.schema import WorkerTable
from db.session import transaction, utc_now
from db.upsert import upsert
from reference_mmu.record import Record

ALIVE_SECONDS: Final = 15
"""A worker that has not been heard of for so long is dead, or as good as."""
_KEPT_DAYS: Final = 7


class WorkerRow(Record):
    """A worker as stored."""

    name: str
    host: str
    pid: int
    slots: int
    model_version: str
    started_at: datetime
    seen_at: datetime


def note_worker(engine: Engine, worker: WorkerRow) -> None:
    """A worker says that it is there; the rows of those long gone are dropped.  Raises StoreError."""
    values = msgspec.structs.asdict(worker)
    with transaction(engine, "write") as connection:
        statement = upsert(connection, WorkerTable).values(values)
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"seen_at": worker.seen_at}))
        forgotten = WorkerTable.seen_at < worker.seen_at - timedelta(days=_KEPT_DAYS)
        connection.execute(delete(WorkerTable).where(forgotten))


def forget_worker(engine: Engine, name: str) -> None:
    """A worker says that it leaves.  Raises StoreError."""
    with transaction(engine, "write") as connection:
        connection.execute(delete(WorkerTable).where(WorkerTable.name == name))


def live_workers(connection: Connection, now: datetime) -> list[WorkerRow]:
    """The workers that are there."""
    query = select(WorkerTable).where(WorkerTable.seen_at > now - timedelta(seconds=ALIVE_SECONDS))
    rows = connection.execute(query.order_by(WorkerTable.name)).mappings()
    return [msgspec.convert(dict(row), WorkerRow) for row in rows]


def workers(engine: Engine, now: Callable[[], datetime] = utc_now) -> list[WorkerRow]:
    """The workers that are there.  Raises StoreError."""
    with transaction(engine, "read") as connection:
        return live_workers(connection, now())
