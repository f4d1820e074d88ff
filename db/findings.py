# SPDX-License-Identifier: GPL-2.0-only
"""Writing findings: one row per campaign and signature, whoever finds it, and what is kept beside it.

Functions of a connection, for the transactions of db.store and db.judgements.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from db.holes import name_holes
from db.schema import SEVERITY, FindingState, FindingTable, OccurrenceTable, ReproducerTable
from db.session import StoreError
from db.upsert import upsert
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, signature
from reference_mmu.record import Record

# Enough to see how a bug spreads over the seeds; its count goes on beyond them.
OCCURRENCES_MAX: Final = 100
# A minimized reproducer has a few KiB, a raw one some hundred.
REPRODUCER_BYTES_MAX: Final = 16 * 2**20
# The fields of a finding that are columns. `after` is none: the story says it; nor is `change`, which the signature is
# of. The reproducer has both.
FINDING_FIELDS: Final = tuple(name for name in Finding.__struct_fields__ if name not in ("after", "change"))
# The columns of a finding that show one of its members, see FindingTable.
_SHOWN: Final = (*FINDING_FIELDS, "severity", "first_seed")


class Showing(Record):
    """Programs of one batch that showed a finding, and the first of them."""

    batch: int
    """Id of the batch's row."""
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


def show_findings(
    connection: Connection, campaign: int, found: Iterable[FoundFinding], now: datetime
) -> dict[str, int]:
    """The ids of the rows of findings by signature; nothing is counted yet for those that are new."""
    merged = _merged(found)
    uncounted = {"count": 0, "batches": 0}
    values = [_finding_values(one, campaign, now) | uncounted for one in merged.values()]
    connection.execute(_add_or_show(connection), values)
    stored = (FindingTable.campaign_id == campaign) & FindingTable.signature.in_(merged)
    rows = connection.execute(select(FindingTable.signature, FindingTable.id).where(stored))
    return {row.signature: row.id for row in rows}


def stored_signatures(connection: Connection, campaign: int, signatures: Iterable[str]) -> set[str]:
    """Which of the signatures the campaign has a finding of."""
    stored = (FindingTable.campaign_id == campaign) & FindingTable.signature.in_(signatures)
    return set(connection.execute(select(FindingTable.signature).where(stored)).scalars())


def count_shown(connection: Connection, shown: Mapping[int, Iterable[Showing]], now: datetime) -> None:
    """Count programs of some batches, for each finding at most one Shown a batch; note the occurrences.

    The findings, by id, have rows.
    """
    if not shown:
        return
    merged = {finding: {one.batch: one for one in some} for finding, some in sorted(shown.items())}
    known = _noted(connection, merged)
    more = [
        {
            "occurrence": known[finding, batch].id,
            "seed": min(known[finding, batch].program_seed, one.program_seed),
            "more": one.count,
        }
        for finding, some in merged.items()
        for batch, one in some.items()
        if (finding, batch) in known
    ]
    if more:
        values = {"program_seed": bindparam("seed"), "count": OccurrenceTable.count + bindparam("more")}
        this = OccurrenceTable.id == bindparam("occurrence")
        connection.execute(update(OccurrenceTable).where(this).values(values), more)
    fresh = {f: [one for batch, one in some.items() if (f, batch) not in known] for f, some in merged.items()}
    _add_counts(connection, {f: (sum(one.count for one in merged[f].values()), len(fresh[f])) for f in merged}, now)
    _note_occurrences(connection, fresh)


def _noted(connection: Connection, shown: Mapping[int, Mapping[int, Showing]]) -> dict[tuple[int, int], Any]:
    """Occurrences that are there: two judgements can come out as the same bug, whose batch counts once."""
    table = OccurrenceTable
    batches = {batch for some in shown.values() for batch in some}
    query = select(table.id, table.finding_id, table.batch_id, table.program_seed).where(
        table.finding_id.in_(shown), table.batch_id.in_(batches)
    )
    return {(row.finding_id, row.batch_id): row for row in connection.execute(query)}


def _add_counts(connection: Connection, counts: Mapping[int, tuple[int, int]], now: datetime) -> None:
    """Add programs and batches to findings."""
    values = {
        "count": FindingTable.count + bindparam("programs"),
        "batches": FindingTable.batches + bindparam("shown_in"),
        "last_seen": now,
    }
    rows = [{"finding": f, "programs": programs, "shown_in": batches} for f, (programs, batches) in counts.items()]
    connection.execute(update(FindingTable).where(FindingTable.id == bindparam("finding")).values(values), rows)


def _note_occurrences(connection: Connection, fresh: Mapping[int, Sequence[Showing]]) -> None:
    """Note batches that were just counted at their findings, as far as there is room."""
    query = select(FindingTable.id, FindingTable.batches).where(FindingTable.id.in_(fresh))
    rows = [
        {"finding_id": finding, "batch_id": one.batch, "program_seed": one.program_seed, "count": one.count}
        for finding, batches in connection.execute(query).all()
        for one in fresh[finding][: max(0, OCCURRENCES_MAX - (batches - len(fresh[finding])))]
    ]
    if rows:
        connection.execute(insert(OccurrenceTable), rows)


def _add_or_show(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """Inserts finding rows; to one that is there it adds what is counted, and it shows the more severe member.  What
    has become worse is no longer known: no reproducer shows it yet."""
    statement = upsert(connection, FindingTable)
    new, old = statement.excluded, FindingTable
    worse = new.severity > old.severity
    shown_anew = tuple_(-new.severity, new.first_seed) < tuple_(-old.severity, old.first_seed)
    return statement.on_conflict_do_update(
        index_elements=["campaign_id", "signature"],
        set_={
            "count": old.count + new.count,
            "batches": old.batches + new.batches,
            "last_seen": case((new.last_seen > old.last_seen, new.last_seen), else_=old.last_seen),
            **{name: case((shown_anew, new[name]), else_=getattr(old, name)) for name in _SHOWN},
            **{name: case((worse, new[name]), else_=getattr(old, name)) for name in ("known", "rank")},
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


def keep_reproducers(connection: Connection, reproducers: Sequence[Mapping[str, Any]]) -> bool:
    """Store reproducers, of each finding the one that costs least, and name the findings by it; True if one of them is
    a stored one now."""
    if not reproducers:
        return False
    is_better = connection.execute(_keep_better(connection), reproducers).rowcount > 0
    name_holes(connection, [row["finding_id"] for row in reproducers])
    return is_better


def _keep_better(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """Inserts reproducers, or replaces those that cost more."""
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
        "known": None,
        "rank": SEVERITY[found.finding.verdict],
    }


def check_size(signature: str, body: bytes | None) -> None:
    """Raise StoreError for a reproducer that is too large to be kept."""
    if body is not None and len(body) > REPRODUCER_BYTES_MAX:
        raise StoreError(f"reproducer of {signature}: {len(body)} bytes, at most {REPRODUCER_BYTES_MAX} are kept")
