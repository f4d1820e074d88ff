# SPDX-License-Identifier: GPL-2.0-only
"""How a campaign fares now: what its batches add up to, the latest of them, and whether they still bring coverage.

Cheap enough to be asked for every second, see db.growth for all of its history.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, case, func, select

from db.listing import Number, numbers_of
from db.schema import BatchTable, FindingTable
from db.session import transaction
from reference_mmu.record import Record

LATEST_MAX: Final = 500
LATEST_OVER: Final = timedelta(minutes=5)
_LAST_SHARE: Final = 4


class LatestBatch(Record):
    """A batch that was just stored; `seconds` are those of its process."""

    number: int
    stored_at: datetime
    programs: int
    steps: int
    seconds: float
    coverage: int


class Pace(Record):
    """All batches together, and those of the last minutes in which there were any, the newest first."""

    batches: int
    programs: int
    steps: int
    seconds: float
    """Seconds that all of them took together, which is more than the wall time if several ran at once."""
    coverage: int
    """Highest coverage of a batch."""
    coverage_before: int | None
    """Highest coverage of a batch that is not in the last quarter of the batches; None if that leaves none."""
    last_stored: datetime | None
    latest: tuple[LatestBatch, ...]
    last_found: datetime | None
    """When a signature was seen for the first time."""
    verdicts: tuple[Number, ...]
    """How many findings each verdict has, the most severe first."""


def pace(engine: Engine, campaign: int) -> Pace:
    """How fast a campaign goes now and in all; empty for a campaign that does not exist. Raises StoreError."""
    table = BatchTable
    mine = table.campaign_id == campaign
    with transaction(engine, "read") as connection:
        ends = select(func.coalesce(func.min(table.number), 0), func.coalesce(func.max(table.number), 0)).where(mine)
        first, last = connection.execute(ends).one()
        before = case((table.number <= last - -(-(last - first + 1) // _LAST_SHARE), table.coverage))
        totals = connection.execute(
            select(
                func.count().label("batches"),
                func.coalesce(func.sum(table.programs), 0).label("programs"),
                func.coalesce(func.sum(table.steps), 0).label("steps"),
                func.coalesce(func.sum(table.seconds), 0.0).label("seconds"),
                func.coalesce(func.max(table.coverage), 0).label("coverage"),
                func.max(before).label("coverage_before"),
                func.max(table.stored_at).label("last_stored"),
            ).where(mine)
        ).one()
        verdicts, last_found = _findings(connection, campaign)
        latest = _latest(connection, campaign)
    return Pace(
        batches=totals.batches,
        programs=int(totals.programs),
        steps=int(totals.steps),
        seconds=totals.seconds,
        coverage=totals.coverage,
        coverage_before=totals.coverage_before,
        last_stored=totals.last_stored,
        latest=latest,
        last_found=last_found,
        verdicts=verdicts,
    )


def _latest(connection: Connection, campaign: int) -> tuple[LatestBatch, ...]:
    table = BatchTable
    columns = (getattr(table, name) for name in LatestBatch.__struct_fields__)
    # By number, of which there is an index; a batch that came late is missing here for once.
    query = select(*columns).where(table.campaign_id == campaign).order_by(table.number.desc()).limit(LATEST_MAX)
    rows = [LatestBatch(*row) for row in connection.execute(query)]
    newest = max((row.stored_at for row in rows), default=None)
    lately = [row for row in rows if newest is not None and newest - row.stored_at <= LATEST_OVER]
    return tuple(sorted(lately, key=lambda row: (row.stored_at, row.number), reverse=True))


def _findings(connection: Connection, campaign: int) -> tuple[tuple[Number, ...], datetime | None]:
    table = FindingTable
    numbers = select(table.severity, func.count(), func.count(table.known), func.max(table.first_seen))
    query = numbers.where(table.campaign_id == campaign).group_by(table.severity)
    rows = connection.execute(query).all()
    found = {severity: (count, known) for severity, count, known, _ in rows}
    return numbers_of(found), max((row[-1] for row in rows), default=None)
