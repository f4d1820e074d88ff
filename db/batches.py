# SPDX-License-Identifier: GPL-2.0-only
"""Batches: each is stored once, with all it has to say, however often it was run."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Engine, case, insert, select, update

from db.campaigns import check_campaign
from db.handout import TaskName, close_task, is_task
from db.schema import BatchState, BatchTable, FleetTable, SightingTable, TaskKind, TaskState, TaskTable, TraceTable
from db.session import transaction, utc_now
from db.upsert import upsert
from fuzzer.judge.finding import BatchResult
from fuzzer.sighting import Sighting


def store_batch(
    engine: Engine, result: BatchResult, seen: tuple[Sighting, ...], now: Callable[[], datetime] = utc_now
) -> bool:
    """Store what a worker's batch has to say, close its task and count its traces, or nothing of that.

    False if the batch was stored before: then nothing changes.  Raises StoreError.
    """
    with transaction(engine, "write") as connection:
        check_campaign(connection, result.campaign)
        name = TaskName(result.campaign, TaskKind.BATCH, result.number)
        # First of all: these may lock the fleet, which comes before anything else, see FleetTable.
        _fold_late(connection, name)
        close_task(connection, name)
        at = now()
        batch = insert_batch(connection, result, at)
        if batch is None:
            return False
        if seen:
            _count_traces(connection, result.campaign, seen, at)
            _note_sightings(connection, result.campaign, batch, seen)
        return True


def insert_batch(connection: Connection, result: BatchResult, now: datetime) -> int | None:
    """The id of the new batch row, or None if the batch was there."""
    statement = upsert(connection, BatchTable).values(
        campaign_id=result.campaign,
        number=result.number,
        seed_first=result.seed_first,
        programs=result.programs,
        steps=result.steps,
        seconds=result.seconds,
        coverage=result.coverage,
        state=BatchState.DONE.value,
        stored_at=now,
    )
    statement = statement.on_conflict_do_nothing(index_elements=["campaign_id", "number"])
    if connection.execute(statement).rowcount == 0:
        return None
    stored = (BatchTable.campaign_id == result.campaign) & (BatchTable.number == result.number)
    return connection.execute(select(BatchTable.id).where(stored)).scalar_one()


def _fold_late(connection: Connection, name: TaskName) -> None:
    """If the task was set aside, send the dispatcher back to a batch that it may have gone over; whatever it folded
    before has no sightings any more."""
    fleet = FleetTable
    aside = select(TaskTable.id).where(is_task(name), TaskTable.state == TaskState.ASIDE.value).exists()
    # No condition on next_folded: a dispatcher that moves it at this moment is waited for.
    first = case((fleet.next_folded > name.number, name.number), else_=fleet.next_folded)
    connection.execute(update(fleet).where(fleet.campaign_id == name.campaign, aside).values(next_folded=first))


def _count_traces(connection: Connection, campaign: int, seen: tuple[Sighting, ...], now: datetime) -> None:
    statement = upsert(connection, TraceTable)
    new, old = statement.excluded, TraceTable
    statement = statement.on_conflict_do_update(
        index_elements=["campaign_id", "key"],
        set_={
            "count": old.count + new.count,
            "first_seed": case((new.first_seed < old.first_seed, new.first_seed), else_=old.first_seed),
            "last_seen": new.last_seen,
        },
    )
    values = [
        {
            "campaign_id": campaign,
            "key": sighting.trace.key(),
            "count": len(sighting.seeds),
            "folded": 0,
            "first_seed": min(sighting.seeds),
            "first_seen": now,
            "last_seen": now,
        }
        for sighting in seen
    ]
    # Sorted, so that two transactions that meet the same traces lock their rows in the same order.
    connection.execute(statement, sorted(values, key=lambda row: str(row["key"])))


def _note_sightings(connection: Connection, campaign: int, batch: int, seen: tuple[Sighting, ...]) -> None:
    stored = (TraceTable.campaign_id == campaign) & TraceTable.key.in_(sighting.trace.key() for sighting in seen)
    ids = {key: trace for trace, key in connection.execute(select(TraceTable.id, TraceTable.key).where(stored))}
    rows = [
        {"batch_id": batch, "trace_id": ids[sighting.trace.key()], "seeds": list(sighting.seeds)} for sighting in seen
    ]
    connection.execute(insert(SightingTable), rows)
