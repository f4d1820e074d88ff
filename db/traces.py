# SPDX-License-Identifier: GPL-2.0-only
"""Traces: what was seen and not judged yet, for people who do not want to wait."""

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, select

from db.schema import JudgementTable, TraceTable
from fuzzer.judge.seen import Trace
from reference_mmu.record import Record


class TraceRow(Record):
    """A trace that no finding explains yet."""

    campaign: int
    trace: Trace
    count: int
    """Programs that showed it; 0 while the first batch that did still runs."""
    first_seed: int
    first_seen: datetime


def unjudged_traces(connection: Connection, campaign: int | None, limit: int) -> list[TraceRow]:
    """Traces of one or all campaigns that no finding explains yet, the last seen first."""
    table = TraceTable
    query = (
        select(table.campaign_id, table.key, table.count, table.first_seed, table.first_seen)
        .where(~is_explained())
        .order_by(table.last_seen.desc(), table.id.desc())
        .limit(limit)
    )
    if campaign is not None:
        query = query.where(table.campaign_id == campaign)
    rows = connection.execute(query).all()
    return [TraceRow(row[0], msgspec.json.decode(row[1], type=Trace), *row[2:]) for row in rows]


def is_explained() -> ColumnElement[bool]:
    """Condition on a trace: one of its judgements has a finding."""
    judgement = (JudgementTable.trace_id == TraceTable.id) & JudgementTable.finding_id.is_not(None)
    return select(JudgementTable.id).where(judgement).exists()
