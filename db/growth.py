# SPDX-License-Identifier: GPL-2.0-only
"""How a campaign grows: its batches in the order in which they were stored, thinned out to what a chart can show."""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Engine, func, select

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
    batches = (
        select(BatchTable.stored_at, BatchTable.programs, BatchTable.steps, BatchTable.seconds, BatchTable.coverage)
        .where(of_campaign)
        .order_by(BatchTable.stored_at, BatchTable.id)
    )
    found = select(func.min(FindingTable.first_seen), func.max(FindingTable.first_seen)).where(
        FindingTable.campaign_id == campaign
    )
    points: list[GrowthPoint] = []
    with transaction(engine, "read") as connection:
        total = connection.execute(select(func.count()).where(of_campaign)).scalar_one()
        first, last = connection.execute(found).one()
        together = max(1, -(-total // POINTS_MAX))
        coverage = 0
        for chunk in connection.execute(batches).partitions(together):
            coverage = max(coverage, *(row.coverage for row in chunk))
            points.append(
                GrowthPoint(
                    stored_at=chunk[-1].stored_at,
                    batches=len(chunk),
                    programs=sum(row.programs for row in chunk),
                    steps=sum(row.steps for row in chunk),
                    seconds=sum(row.seconds for row in chunk),
                    coverage=coverage,
                )
            )
    return Growth(tuple(points), first, last)
