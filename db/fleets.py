# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns of a fleet, as people steer and see them."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, select, update

from db.campaigns import CampaignRow, NewCampaign, find_campaign, insert_campaign, lock_fleet
from db.dispatch import end_fleet, ran_seconds
from db.liveness import live_workers
from db.repository import Repository
from db.schema import (
    FAILURES,
    BatchTable,
    CampaignState,
    CampaignTable,
    FindingTable,
    FleetTable,
    TaskState,
    TaskTable,
    TraceTable,
)
from db.session import StoreError, transaction
from db.traces import is_explained
from db.upsert import upsert
from reference_mmu.record import Record


class NoFleet(StoreError):
    """The campaign is not one of a fleet."""


class FleetPlan(Record):
    """How a campaign is cut into batches, and what it may take."""

    batch_programs: int
    until_regression: bool
    slots_max: int | None = None
    """How many search processes may work for it at a time."""
    task_seconds: int | None = None
    """A task that takes longer fails, one of the workers' own limits if that is None."""
    memory_mib: int | None = None
    """A task that takes so much more memory than its process has when it begins fails."""


class Open(Record):
    """Tasks of one kind that are not stored yet."""

    kind: str
    open: int
    aside: int


class Counts(Record, kw_only=True):
    """What a campaign has come to."""

    batches: int
    programs: int
    steps: int
    findings: int
    failures: int
    """Findings with verdict regression or unexplained."""
    unjudged: int
    """Traces that no finding explains yet."""
    redeliveries: int


class FleetStatus(Counts, kw_only=True):
    """How far a campaign is."""

    campaign: CampaignRow
    plan: FleetPlan
    ran_seconds: float
    tasks: tuple[Open, ...]
    slots: int
    """Slots of live workers that have the campaign's model version."""
    other_models: tuple[str, ...]
    """Model versions of the other live workers."""


class Fleets(Repository):
    """The campaigns of fleets in the database behind `engine`.  Every method is one transaction, raises StoreError."""

    def create(self, plan: FleetPlan, searched: NewCampaign, request: str | None = None) -> int:
        """Store a campaign, which workers begin at once, and return its number; for a `request` that has one already,
        the number of that."""
        with transaction(self._engine, "write") as connection:
            campaign = insert_campaign(connection, self._now(), searched)
            counters = ("next_number", "next_folded", "next_judgement", "next_settled", "redeliveries", "ran_seconds")
            fleet = {"campaign_id": campaign, **dict.fromkeys(counters, 0), **msgspec.structs.asdict(plan)}
            # Who sends the same at the same time is waited for here.
            inserted = upsert(connection, FleetTable).values(**fleet, request=request).on_conflict_do_nothing()
            if connection.execute(inserted).rowcount:
                return campaign
            connection.execute(delete(CampaignTable).where(CampaignTable.id == campaign))
            first = select(FleetTable.campaign_id).where(FleetTable.request == request)
            return int(connection.execute(first).scalar_one())

    def pause(self, campaign: int) -> None:
        """Hand out no more of a running campaign; what is being run will be stored."""
        self._change(campaign, CampaignState.PAUSED, {CampaignState.RUNNING})

    def resume(self, campaign: int) -> None:
        """Go on with a paused campaign."""
        self._change(campaign, CampaignState.RUNNING, {CampaignState.PAUSED})

    def stop(self, campaign: int) -> None:
        """End a campaign for good; what is being run will be stored."""
        self._change(campaign, CampaignState.STOPPED, {CampaignState.RUNNING, CampaignState.PAUSED})

    def _change(self, campaign: int, state: CampaignState, allowed: set[CampaignState]) -> None:
        with transaction(self._engine, "write") as connection:
            lock_fleet(connection, campaign)
            row = find_campaign(connection, campaign)
            _check_fleet(connection, campaign)
            if row.state is state:
                return
            if row.state not in allowed:
                raise StoreError(f"campaign {campaign} is {row.state}: it cannot become {state}")
            if state is CampaignState.RUNNING:
                # Its clock goes on when it meets a worker.
                changed = update(CampaignTable).where(CampaignTable.id == campaign).values(state=state.value)
                connection.execute(changed)
            else:
                end_fleet(connection, campaign, state, self._now())

    def status(self, campaign: int) -> FleetStatus:
        """How far one campaign is."""
        with transaction(self._engine, "read") as connection:
            find_campaign(connection, campaign)
            _check_fleet(connection, campaign)
            return _statuses(connection, CampaignTable.id == campaign, 1, self._now())[0]

    def newest(self, model_version: str) -> int | None:
        """The last campaign that was created for workers of that model version, in whatever state; None without any."""
        newest = select(func.max(CampaignTable.id)).join(FleetTable, FleetTable.campaign_id == CampaignTable.id)
        with transaction(self._engine, "read") as connection:
            return connection.execute(newest.where(CampaignTable.model_version == model_version)).scalar()

    def statuses(self, limit: int) -> list[FleetStatus]:
        """How far the campaigns are, the newest first."""
        with transaction(self._engine, "read") as connection:
            return _statuses(connection, CampaignTable.id > 0, limit, self._now())


def _check_fleet(connection: Connection, campaign: int) -> None:
    if connection.execute(select(FleetTable.campaign_id).where(FleetTable.campaign_id == campaign)).first() is None:
        raise NoFleet(f"campaign {campaign} was searched by one 'mmufuzz run', no workers belong to it")


def _statuses(connection: Connection, which: ColumnElement[bool], limit: int, now: datetime) -> list[FleetStatus]:
    rows = connection.execute(
        select(*CampaignTable.__table__.columns, *FleetTable.__table__.columns)
        .join(FleetTable, FleetTable.campaign_id == CampaignTable.id)
        .where(which)
        .order_by(CampaignTable.id.desc())
        .limit(limit)
    ).mappings()
    fleets = rows.all()
    ids = [row["id"] for row in fleets]
    batches = _by_campaign(connection, _batch_sums(ids))
    findings = _by_campaign(connection, _finding_sums(ids))
    traces = _by_campaign(connection, _trace_sums(ids))
    tasks: dict[int, list[Open]] = {}
    for campaign, kind, waiting, aside in connection.execute(_task_sums(ids)):
        tasks.setdefault(campaign, []).append(Open(kind, int(waiting), int(aside)))
    workers = live_workers(connection, now)
    return [
        FleetStatus(
            campaign=msgspec.convert({name: row[name] for name in CampaignRow.__struct_fields__}, CampaignRow),
            plan=FleetPlan(**{name: row[name] for name in FleetPlan.__struct_fields__}),
            ran_seconds=ran_seconds(row, now),
            **dict(zip(("batches", "programs", "steps"), batches.get(row["id"], (0, 0, 0)), strict=True)),
            **dict(zip(("findings", "failures"), findings.get(row["id"], (0, 0)), strict=True)),
            unjudged=traces.get(row["id"], (0,))[0],
            redeliveries=row["redeliveries"],
            tasks=tuple(tasks.get(row["id"], ())),
            slots=sum(worker.slots for worker in workers if worker.model_version == row["model_version"]),
            other_models=tuple(sorted({w.model_version for w in workers} - {row["model_version"]})),
        )
        for row in fleets
    ]


def _by_campaign(connection: Connection, query: Select[*tuple[Any, ...]]) -> dict[int, tuple[int, ...]]:
    return {row[0]: tuple(int(value) for value in row[1:]) for row in connection.execute(query)}


def _batch_sums(campaigns: list[int]) -> Select[*tuple[Any, ...]]:
    table = BatchTable
    sums = (func.count(), func.sum(table.programs), func.sum(table.steps))
    return select(table.campaign_id, *sums).where(table.campaign_id.in_(campaigns)).group_by(table.campaign_id)


def _finding_sums(campaigns: list[int]) -> Select[*tuple[Any, ...]]:
    table = FindingTable
    failure = case((table.severity.in_(FAILURES), 1), else_=0)
    sums = (func.count(), func.sum(failure))
    return select(table.campaign_id, *sums).where(table.campaign_id.in_(campaigns)).group_by(table.campaign_id)


def _trace_sums(campaigns: list[int]) -> Select[*tuple[Any, ...]]:
    table = TraceTable
    unexplained = table.campaign_id.in_(campaigns) & ~is_explained()
    return select(table.campaign_id, func.count()).where(unexplained).group_by(table.campaign_id)


def _task_sums(campaigns: list[int]) -> Select[*tuple[Any, ...]]:
    table = TaskTable
    aside = func.sum(case((table.state == TaskState.ASIDE.value, 1), else_=0))
    waiting = func.sum(case((table.state == TaskState.OPEN.value, 1), else_=0))
    mine = table.campaign_id.in_(campaigns)
    groups = (table.campaign_id, table.kind)
    return select(*groups, waiting, aside).where(mine).group_by(*groups).order_by(*groups)
