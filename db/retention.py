# SPDX-License-Identifier: GPL-2.0-only
"""Retention: what is old enough to be deleted, and what is kept for ever.

    an occurrence    when its batch is older, unless it is the one that the reproducer or the first seed is of
    a campaign       when it has ended and its last batch, or itself if it has none, is older, unless it has an open
                     finding of verdict regression or unexplained

A campaign takes its batches, findings and their histories along.  Counts of findings do not change by the deletion of
occurrences, and notifications stay, so that nobody is told twice.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, or_, select

from db.schema import (
    ENDED,
    FAILURES,
    BatchTable,
    CampaignTable,
    FindingState,
    FindingTable,
    OccurrenceTable,
    ReproducerTable,
)
from db.session import transaction
from reference_mmu.record import Record


class Old(Record):
    """What is to be deleted, and the campaigns that would be but for an open failure."""

    campaigns: tuple[int, ...]
    kept: tuple[int, ...]
    occurrences: int
    """How many occurrences of other campaigns go with them."""


def find_old(engine: Engine, before: datetime) -> Old:
    """What is older, without deleting it.  Raises StoreError."""
    with transaction(engine, "read") as connection:
        return _find_old(connection, before)


def delete_old(engine: Engine, before: datetime) -> Old:
    """Delete what is older, in one transaction; returns what that was.  Raises StoreError."""
    with transaction(engine, "write") as connection:
        old = _find_old(connection, before)
        connection.execute(delete(CampaignTable).where(CampaignTable.id.in_(old.campaigns)))
        connection.execute(delete(OccurrenceTable).where(_is_old_occurrence(before)))
        return old


def _find_old(connection: Connection, before: datetime) -> Old:
    last = select(func.max(BatchTable.stored_at)).where(BatchTable.campaign_id == CampaignTable.id).scalar_subquery()
    failure = (
        select(FindingTable.id)
        .where(
            FindingTable.campaign_id == CampaignTable.id,
            FindingTable.severity.in_(FAILURES),
            FindingTable.state == FindingState.OPEN.value,
        )
        .exists()
    )
    query = (
        select(CampaignTable.id, failure)
        .where(
            CampaignTable.state.in_([state.value for state in ENDED]),
            func.coalesce(last, CampaignTable.created_at) < before,
        )
        .order_by(CampaignTable.id)
    )
    rows = connection.execute(query).all()
    campaigns = tuple(campaign for campaign, has_failure in rows if not has_failure)
    others = FindingTable.campaign_id.not_in(campaigns)
    occurrences = (
        select(func.count())
        .select_from(OccurrenceTable)
        .join(FindingTable, FindingTable.id == OccurrenceTable.finding_id)
        .where(_is_old_occurrence(before), others)
    )
    kept = tuple(campaign for campaign, has_failure in rows if has_failure)
    return Old(campaigns, kept, connection.execute(occurrences).scalar_one())


def _is_old_occurrence(before: datetime) -> ColumnElement[bool]:
    table = OccurrenceTable
    batch = select(BatchTable.id).where(BatchTable.id == table.batch_id, BatchTable.stored_at < before)
    finding = select(FindingTable.id).where(
        FindingTable.id == table.finding_id, FindingTable.first_seed == table.program_seed
    )
    reproducer = select(ReproducerTable.finding_id).where(
        ReproducerTable.finding_id == table.finding_id, ReproducerTable.program_seed == table.program_seed
    )
    old, first, kept = (query.correlate(table).exists() for query in (batch, finding, reproducer))
    return old & ~or_(first, kept)
