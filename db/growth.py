# SPDX-License-Identifier: GPL-2.0-only
"""How a campaign grows: its batches in the order in which they were stored, thinned out to what a chart can show."""

from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Engine, Select, func, select

from db.schema import BatchTable, FindingTable
from db.session import transaction

POINTS_MAX: Final = 400


class GrowthPoint(msgspec.Struct, frozen=True):
    """Some batches stored one after the other. Times are those of the last of them."""

    stored_at: datetime
    batches: int
    programs: int
    steps: int
    seconds: float
    """Spent by all of them, so more than the wall time if several ran at once."""
    coverage: int
    """Highest coverage of a batch up to here."""


class Growth(msgspec.Struct, frozen=True):
    """A campaign over time; the times of its first and newest finding are None if it has none."""

    points: tuple[GrowthPoint, ...]
    first_found: datetime | None
    last_found: datetime | None
    """When a signature was seen that was not known before."""


def growth(engine: Engine, campaign: int) -> Growth:
    """Raises StoreError.  Of a campaign that does not exist there is nothing to tell."""
    of_campaign = BatchTable.campaign_id == campaign
    found = select(func.min(FindingTable.first_seen), func.max(FindingTable.first_seen)).where(
        FindingTable.campaign_id == campaign
    )
    with transaction(engine, "read") as connection:
        total = connection.execute(select(func.count()).where(of_campaign)).scalar_one()
        first, last = connection.execute(found).one()
        rows = connection.execute(_thinned(of_campaign, max(1, -(-total // POINTS_MAX)))).all()
    highest = accumulate((row.coverage for row in rows), max)
    points = (
        GrowthPoint(row.stored_at, row.batches, int(row.programs), int(row.steps), row.seconds, coverage)
        for row, coverage in zip(rows, highest, strict=True)
    )
    return Growth(tuple(points), first, last)


def _thinned(of_campaign: ColumnElement[bool], together: int) -> Select[*tuple[Any, ...]]:
    """The batches in the order in which they were stored, so many of them to a row."""
    place = func.row_number().over(order_by=(BatchTable.stored_at, BatchTable.id)) - 1
    columns = (BatchTable.stored_at, BatchTable.programs, BatchTable.steps, BatchTable.seconds, BatchTable.coverage)
    numbered = select(*columns, (place // together).label("chunk")).where(of_campaign).subquery()
    batches = numbered.c
    return (
        select(
            func.max(batches.stored_at).label("stored_at"),
            func.count().label("batches"),
            func.sum(batches.programs).label("programs"),
            func.sum(batches.steps).label("steps"),
            func.sum(batches.seconds).label("seconds"),
            func.max(batches.coverage).label("coverage"),
        )
        .group_by(batches.chunk)
        .order_by(batches.chunk)
    )
