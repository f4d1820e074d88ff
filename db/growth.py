# SPDX-License-Identifier: GPL-2.0-only
"""How a campaign grows: its batches, thinned out to what a chart can show, in the order in which they were stored.

They are put together by their numbers, so that the database adds up without sorting; a batch that came late counts with
its neighbours.
"""

from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Select, func, select

from db.schema import BatchTable, FindingTable
from db.session import transaction
from reference_mmu.record import Record

POINTS_MAX: Final = 400


class GrowthPoint(Record):
    """Some batches of neighbouring numbers. `stored_at` is when the last of them was stored."""

    stored_at: datetime
    batches: int
    programs: int
    steps: int
    seconds: float
    """Seconds that all of them took together, which is more than the wall time if several ran at once."""
    coverage: int
    """Highest coverage of a batch up to here."""


class Growth(Record):
    """A campaign over time; the times of its first and newest finding are None if it has none."""

    points: tuple[GrowthPoint, ...]
    first_found: datetime | None
    last_found: datetime | None
    """When a signature was seen for the first time."""


def growth(engine: Engine, campaign: int) -> Growth:
    """How a campaign went, by its batches; empty for a campaign that does not exist. Raises StoreError."""
    of_campaign = BatchTable.campaign_id == campaign
    found = select(func.min(FindingTable.first_seen), func.max(FindingTable.first_seen)).where(
        FindingTable.campaign_id == campaign
    )
    ends = select(func.coalesce(func.min(BatchTable.number), 0), func.coalesce(func.max(BatchTable.number), 0))
    with transaction(engine, "read") as connection:
        lowest, highest = connection.execute(ends.where(of_campaign)).one()
        first, last = connection.execute(found).one()
        together = -(-(highest - lowest + 1) // POINTS_MAX)
        rows = connection.execute(_thinned(of_campaign, lowest, together)).all()
    rows = sorted(rows, key=lambda row: (row.stored_at, row.chunk))
    coverage = accumulate((row.coverage for row in rows), max)
    points = (
        GrowthPoint(row.stored_at, row.batches, int(row.programs), int(row.steps), row.seconds, reached)
        for row, reached in zip(rows, coverage, strict=True)
    )
    return Growth(tuple(points), first, last)


def _thinned(of_campaign: ColumnElement[bool], lowest: int, together: int) -> Select[*tuple[Any, ...]]:
    """The batches, with so many numbers of them to one row."""
    table = BatchTable
    chunk = ((table.number - lowest) // together).label("chunk")
    return (
        select(
            chunk,
            func.max(table.stored_at).label("stored_at"),
            func.count().label("batches"),
            func.sum(table.programs).label("programs"),
            func.sum(table.steps).label("steps"),
            func.sum(table.seconds).label("seconds"),
            func.max(table.coverage).label("coverage"),
        )
        .where(of_campaign)
        .group_by(chunk)
    )
