# SPDX-License-Identifier: GPL-2.0-only
"""The rows of tasks that were handed out, or are about to be: by what name, and until when."""

from sqlalchemy import ColumnElement, Connection, delete, select, update

from db.schema import FleetTable, TaskKind, TaskState, TaskTable
from fuzzer.judge.finding import Natural
from reference_mmu.record import Record


class TaskName(Record, forbid_unknown_fields=True):
    """A task, as messages and logs name it."""

    campaign: Natural
    kind: TaskKind
    number: Natural


def close_task(connection: Connection, name: TaskName) -> None:
    """Drop the row of a task whose result is stored in this transaction; count how often it was begun again."""
    starts = connection.execute(select(TaskTable.starts).where(is_task(name))).scalar()
    if starts is not None and starts > 1:
        fleet = FleetTable.campaign_id == name.campaign
        again = FleetTable.redeliveries + starts - 1
        connection.execute(update(FleetTable).where(fleet).values(redeliveries=again))
    connection.execute(delete(TaskTable).where(is_task(name)))


def new_task(name: TaskName) -> dict[str, object]:
    """The row of a task that nobody has heard of yet."""
    return {
        "campaign_id": name.campaign,
        "kind": name.kind.value,
        "number": name.number,
        "state": TaskState.OPEN.value,
        "published_at": None,
        "starts": 0,
    }


def is_task(name: TaskName) -> ColumnElement[bool]:
    """Condition on a task row: it is that task."""
    return (
        (TaskTable.campaign_id == name.campaign)
        & (TaskTable.kind == name.kind.value)
        & (TaskTable.number == name.number)
    )
