# SPDX-License-Identifier: GPL-2.0-only
"""Tasks: what a worker is asked to do.  A message only names one; everything else is looked up when it begins."""

from typing import Final

import msgspec
from sqlalchemy import Connection, select, update

from db.campaigns import CampaignRow, check_campaign, find_campaign, lock_fleet
from db.groups import members, split
from db.handout import TaskName, is_task
from db.repository import Repository
from db.schema import CampaignState, FleetTable, JudgementTable, TaskKind, TaskState, TaskTable, TraceTable
from db.session import StoreError, transaction
from fuzzer.judge.finding import Finding
from fuzzer.judge.seen import Trace
from reference_mmu.record import Record

# A task that a dozen workers began and none finished is what kills them.
STARTS_MAX: Final = 12
_ERROR_CHARS_MAX: Final = 2000


class Begun(Record):
    """What all tasks have in common."""

    campaign: CampaignRow
    starts: int
    """How often it was begun, this time included."""
    memory_mib: int | None
    """What it may take, see db.fleets.FleetPlan."""
    task_seconds: int | None
    """How long it may take, as well."""


class BatchWork(Begun):
    """Run the programs of these seeds."""

    seeds: range


class Asked(Record):
    """A judgement by number: why the program of a seed shows a trace."""

    number: int
    seed: int
    trace: Trace


class JudgeWork(Begun):
    """Make some judgements; those of one program stand together."""

    asked: tuple[Asked, ...]


class CauseHead(Record):
    """A judgement by number that is to be minimized: its program, what that shows, and what it was judged to be."""

    number: int
    seed: int
    trace: Trace
    finding: Finding


class MinimizeWork(Begun):
    """Find the smallest story of each of these."""

    heads: tuple[CauseHead, ...]


Work = BatchWork | JudgeWork | MinimizeWork


class AsideTask(Record):
    """A task that was given up, and why."""

    name: TaskName
    starts: int
    error: str


class OtherModel(StoreError):
    """The campaign belongs to another version of the model than this worker's."""


class Tasks(Repository):
    """The tasks in the database behind `engine`.  Every method is one transaction and raises StoreError."""

    def begin(self, name: TaskName, worker: str, model_version: str, *, redelivered: bool = False) -> Work | None:
        """Note that `worker` begins a task, and say what it is; None if there is nothing to do any more.

        Nothing is to do if the result is stored, the task was set aside, or the campaign does not run; nor if the task
        was begun since it was last published, as then this message is an older one that waited, too.  Not so if it is
        `redelivered`: whoever had it may be dead, and storing a result twice is harmless.
        Raises OtherModel, and StoreError for a campaign that does not exist.
        """
        with transaction(self._engine, "write") as connection:
            campaign = find_campaign(connection, name.campaign)
            if campaign.model_version != model_version:
                raise OtherModel(
                    f"campaign {campaign.id} was made with model {campaign.model_version} and this worker has "
                    f"{model_version}: start a worker of that version, or create the campaign anew"
                )
            starts = _starts(connection, name)
            if starts is None or (not redelivered and _is_in_hand(connection, name)):
                return None
            if campaign.state != CampaignState.RUNNING:
                # Published again when the campaign goes on.
                connection.execute(update(TaskTable).where(is_task(name)).values(published_at=None))
                return None
            if starts >= STARTS_MAX:
                _set_aside(connection, name, f"begun {starts} times and never finished: it kills its worker")
                return None
            begun = {"starts": starts + 1, "worker": worker, "started_at": self._now()}
            connection.execute(update(TaskTable).where(is_task(name)).values(begun))
            if starts and name.kind is not TaskKind.BATCH:
                split(connection, name)
            fleet = select(FleetTable.memory_mib, FleetTable.task_seconds).where(FleetTable.campaign_id == campaign.id)
            return _work(connection, name, Begun(campaign, starts + 1, *connection.execute(fleet).one()))

    def set_aside(self, name: TaskName, error: str) -> None:
        """Give a task up, so that it no longer blocks the rest."""
        with transaction(self._engine, "write") as connection:
            check_campaign(connection, name.campaign)
            _set_aside(connection, name, error)

    def are_waiting(self, campaign: int) -> bool:
        """Is there work of a campaign that was handed out and that nobody has begun?"""
        table = TaskTable
        waits = table.started_at.is_(None) | (table.started_at < table.published_at)
        query = select(table.id).where(
            table.campaign_id == campaign,
            table.state == TaskState.OPEN.value,
            table.published_at.is_not(None),
            waits,
        )
        with transaction(self._engine, "read") as connection:
            return connection.execute(query.limit(1)).first() is not None

    def aside(self, campaign: int) -> list[AsideTask]:
        """What was given up."""
        query = select(TaskTable.kind, TaskTable.number, TaskTable.starts, TaskTable.error).where(
            TaskTable.campaign_id == campaign, TaskTable.state == TaskState.ASIDE.value
        )
        with transaction(self._engine, "read") as connection:
            rows = connection.execute(query.order_by(TaskTable.kind, TaskTable.number)).all()
        return [
            AsideTask(TaskName(campaign, TaskKind(kind), number), starts, error or "")
            for kind, number, starts, error in rows
        ]


def _set_aside(connection: Connection, name: TaskName, error: str) -> None:
    text = "".join(char if char.isprintable() else " " for char in error)[:_ERROR_CHARS_MAX]
    connection.execute(update(TaskTable).where(is_task(name)).values(state=TaskState.ASIDE.value, error=text))


def _starts(connection: Connection, name: TaskName) -> int | None:
    """How often an open task was begun, None if there is none; its row is locked, before it the campaign's if the task
    may have to be split."""
    open_task = select(TaskTable.starts).where(is_task(name), TaskTable.state == TaskState.OPEN.value)
    if name.kind is not TaskKind.BATCH and connection.execute(open_task).scalar():
        lock_fleet(connection, name.campaign)
    return connection.execute(open_task.with_for_update()).scalar()


def _is_in_hand(connection: Connection, name: TaskName) -> bool:
    """Was a task begun since it was last published?  If its worker dies or takes too long, it is published again."""
    table = TaskTable
    in_hand = select(table.id).where(is_task(name), table.started_at >= table.published_at)
    return connection.execute(in_hand).first() is not None


def _work(connection: Connection, name: TaskName, begun: Begun) -> Work:
    common = (begun.campaign, begun.starts, begun.memory_mib, begun.task_seconds)
    if name.kind is TaskKind.BATCH:
        size = connection.execute(
            select(FleetTable.batch_programs).where(FleetTable.campaign_id == name.campaign)
        ).scalar_one()
        return BatchWork(*common, batch_seeds(begun.campaign, size, name.number))
    table = JudgementTable
    query = (
        select(table.number, table.seed, TraceTable.key, table.finding)
        .join(TraceTable, TraceTable.id == table.trace_id)
        .where(members(name))
        .order_by(table.number)
    )
    rows = connection.execute(query).all()
    asked = tuple(Asked(row.number, row.seed, msgspec.json.decode(row.key, type=Trace)) for row in rows)
    if name.kind is TaskKind.JUDGE:
        return JudgeWork(*common, asked)
    findings = (msgspec.convert(row.finding, Finding) for row in rows)
    pairs = zip(asked, findings, strict=True)
    heads = (CauseHead(one.number, one.seed, one.trace, finding) for one, finding in pairs)
    return MinimizeWork(*common, tuple(heads))


def batch_seeds(campaign: CampaignRow, size: int, number: int) -> range:
    """Seeds of a batch of `size` programs, fewer in the last one and none beyond it."""
    first = campaign.seed_first + number * size
    end = first + size
    if campaign.budget_programs is not None:
        end = min(end, campaign.seed_first + campaign.budget_programs)
    return range(first, end)
