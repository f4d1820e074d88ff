# SPDX-License-Identifier: GPL-2.0-only
"""Writing findings: one row per campaign and signature, whoever finds it, and what is kept beside it.

Functions of a connection, for the transactions of db.store and db.judgements.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, case, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from db.schema import SEVERITY, FindingState, FindingTable, OccurrenceTable, ReproducerTable
from db.session import StoreError
from db.upsert import upsert
from fuzzer.finding import BatchResult, Finding, FoundFinding, signature

# Enough to see how a bug spreads over the seeds; its count goes on beyond them.
OCCURRENCES_MAX: Final = 100
# A minimized reproducer has a few KiB, a raw one some hundred.
REPRODUCER_BYTES_MAX: Final = 16 * 2**20
# The fields of a finding that are columns. `after` is none: the story says it, and the reproducer has it.
FINDING_FIELDS: Final = tuple(name for name in Finding.__struct_fields__ if name != "after")
# The columns of a finding that show one of its members, see FindingTable.
_SHOWN: Final = (*FINDING_FIELDS, "severity", "first_seed")


class Shown(msgspec.Struct, frozen=True):
    """Programs of one batch that showed a finding, and the first of them."""

    batch: int
    """Id of its row."""
    program_seed: int
    count: int


def count_findings(connection: Connection, result: BatchResult, batch: int, now: datetime) -> dict[str, int]:
    """Add a batch's findings to the finding rows and note the occurrences; returns row ids by signature."""
    merged = _merged(result.findings)
    values = [_finding_values(found, result.campaign, now) for found in merged.values()]
    connection.execute(_add_or_show(connection), values)
    stored = (FindingTable.campaign_id == result.campaign) & FindingTable.signature.in_(merged)
    rows = connection.execute(select(FindingTable.id, FindingTable.signature, FindingTable.batches).where(stored)).all()
    occurrences = [
        {
            "finding_id": row.id,
            "batch_id": batch,
            "program_seed": merged[row.signature].first_seed,
            "count": merged[row.signature].count,
        }
        for row in rows
        if row.batches <= OCCURRENCES_MAX
    ]
    if occurrences:
        connection.execute(insert(OccurrenceTable), occurrences)
    return {row.signature: row.id for row in rows}


def show_finding(connection: Connection, campaign: int, finding: Finding, first_seed: int, now: datetime) -> int:
    """The id of the row of a finding, which nothing is counted for yet if it is new."""
    shown = _finding_values(FoundFinding(finding, 1, first_seed, None), campaign, now) | {"count": 0, "batches": 0}
    connection.execute(_add_or_show(connection), [shown])
    stored = (FindingTable.campaign_id == campaign) & (FindingTable.signature == signature(finding))
    return connection.execute(select(FindingTable.id).where(stored)).scalar_one()


def count_shown(connection: Connection, finding: int, shown: Iterable[Shown], now: datetime) -> None:
    """Count programs of some batches, at most one Shown each, for a finding that has a row; note the occurrences."""
    by_batch = {one.batch: one for one in shown}
    noted = select(OccurrenceTable.batch_id, OccurrenceTable.program_seed, OccurrenceTable.count).where(
        OccurrenceTable.finding_id == finding, OccurrenceTable.batch_id.in_(by_batch)
    )
    # Two judgements can come out as the same bug: the batch that showed both counts once.
    known = {batch: (seed, count) for batch, seed, count in connection.execute(noted)}
    for batch, (seed, count) in known.items():
        more = by_batch[batch]
        occurrence = (OccurrenceTable.finding_id == finding) & (OccurrenceTable.batch_id == batch)
        both = {"program_seed": min(seed, more.program_seed), "count": count + more.count}
        connection.execute(update(OccurrenceTable).where(occurrence).values(both))
    fresh = [one for batch, one in by_batch.items() if batch not in known]
    this = FindingTable.id == finding
    connection.execute(
        update(FindingTable)
        .where(this)
        .values(
            count=FindingTable.count + sum(one.count for one in by_batch.values()),
            batches=FindingTable.batches + len(fresh),
            last_seen=now,
        )
    )
    batches = connection.execute(select(FindingTable.batches).where(this)).scalar_one()
    room = max(0, OCCURRENCES_MAX - (batches - len(fresh)))
    occurrences = [
        {"finding_id": finding, "batch_id": one.batch, "program_seed": one.program_seed, "count": one.count}
        for one in fresh[:room]
    ]
    if occurrences:
        connection.execute(insert(OccurrenceTable), occurrences)


def _add_or_show(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """Inserts finding rows; to one that is there it adds what is counted, and it shows the more severe member."""
    statement = upsert(connection, FindingTable)
    new, old = statement.excluded, FindingTable
    shown_anew = tuple_(-new.severity, new.first_seed) < tuple_(-old.severity, old.first_seed)
    return statement.on_conflict_do_update(
        index_elements=["campaign_id", "signature"],
        set_={
            "count": old.count + new.count,
            "batches": old.batches + new.batches,
            "last_seen": case((new.last_seen > old.last_seen, new.last_seen), else_=old.last_seen),
            **{name: case((shown_anew, new[name]), else_=getattr(old, name)) for name in _SHOWN},
        },
    )


def _merged(findings: Iterable[FoundFinding]) -> dict[str, FoundFinding]:
    """One finding per signature: the one that FindingTable shows, with the count of all.

    Sorted, so that two transactions that meet the same findings lock their rows in the same order.
    """
    merged: dict[str, FoundFinding] = {}
    for found in sorted(findings, key=lambda found: (-SEVERITY[found.finding.verdict], found.first_seed)):
        shown = merged.setdefault(signature(found.finding), found)
        if shown is not found:
            merged[signature(found.finding)] = msgspec.structs.replace(shown, count=shown.count + found.count)
    return dict(sorted(merged.items()))


def keep_better(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """Inserts reproducers, of each finding the one that costs least."""
    statement = upsert(connection, ReproducerTable)
    return statement.on_conflict_do_update(
        index_elements=["finding_id"],
        set_={column.name: statement.excluded[column.name] for column in ReproducerTable.__table__.columns},
        where=_cost(statement.excluded) < _cost(ReproducerTable.__table__.columns),
    )


def _cost(row: Any) -> ColumnElement[Any]:
    """What a better reproducer has less of.  A raw one has no measured size; among raw ones the bytes decide."""
    return tuple_(
        -row.severity,
        case((row.minimized, 0), else_=1),
        func.coalesce(row.operations, 0),
        func.coalesce(row.preemptions, 0),
        func.length(row.body),
        row.program_seed,
    )


def _finding_values(found: FoundFinding, campaign: int, now: datetime) -> dict[str, Any]:
    return {
        **{name: value for name, value in msgspec.to_builtins(found.finding).items() if name in FINDING_FIELDS},
        "campaign_id": campaign,
        "signature": signature(found.finding),
        "severity": SEVERITY[found.finding.verdict],
        "state": FindingState.OPEN.value,
        "count": found.count,
        "batches": 1,
        "first_seen": now,
        "last_seen": now,
        "first_seed": found.first_seed,
    }


def check_size(signature: str, body: bytes | None) -> None:
    """Raise StoreError for a reproducer that is too large to be kept."""
    if body is not None and len(body) > REPRODUCER_BYTES_MAX:
        raise StoreError(f"reproducer of {signature}: {len(body)} bytes, at most {REPRODUCER_BYTES_MAX} are kept")
