# SPDX-License-Identifier: GPL-2.0-only
"""Every query.  What goes in and comes out are frozen Structs, never table rows."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVarTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Select, case, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping

from db.schema import (
    SEVERITY,
    Base,
    BatchState,
    BatchTable,
    CampaignState,
    CampaignTable,
    FindingState,
    FindingTable,
    OccurrenceTable,
    ReproducerTable,
)
from db.session import StoreError, transaction
from fuzzer.finding import BatchResult, Finding, FoundFinding, Occurrence, Verdict, signature

_Columns = TypeVarTuple("_Columns")

# Enough to see how a bug spreads over the seeds; its count goes on beyond them.
OCCURRENCES_MAX: Final = 100
# A minimized reproducer has a few KiB, a raw one some hundred.
REPRODUCER_BYTES_MAX: Final = 16 * 2**20
_TEXT_CHARS_MAX: Final = 4096
# The fields of a finding that are columns. `after` is none: the story says it, and the reproducer has it.
_FIELDS: Final = tuple(name for name in Finding.__struct_fields__ if name != "after")
# The columns of a finding that show one of its members, see FindingTable.
_SHOWN: Final = (*_FIELDS, "severity", "first_seed")


class CampaignRow(msgspec.Struct, frozen=True):
    """A campaign as stored."""

    id: int
    name: str
    created_at: datetime
    old_spec: str
    new_spec: str
    profile: str
    seed_first: int
    budget_seconds: float | None
    budget_programs: int | None
    model_version: str
    state: CampaignState


class ReproducerRow(msgspec.Struct, frozen=True):
    """The stored reproducer of a finding, without its body.  Sizes and trace digest are known once it is minimized."""

    bytes_total: int
    minimized: bool
    operations: int | None
    preemptions: int | None
    digest: str | None


class FindingRow(msgspec.Struct, frozen=True):
    """A finding as stored: one per campaign and signature."""

    campaign: int
    signature: str
    finding: Finding
    state: FindingState
    count: int
    """Programs that showed it."""
    batches: int
    """Batches that showed it."""
    first_seen: datetime
    last_seen: datetime
    first_seed: int
    """Lowest program seed that showed it with this verdict."""
    reproducer: ReproducerRow | None


class VerdictTotal(msgspec.Struct, frozen=True):
    """Signatures of one verdict, and how many programs showed one of them."""

    verdict: Verdict
    findings: int
    count: int


class Totals(msgspec.Struct, frozen=True):
    """What the stored batches of a campaign add up to."""

    batches: int
    programs: int
    steps: int
    seconds: float
    """Sum over the batches, so more than the wall time if several ran at once."""
    coverage: int
    """Highest coverage of a batch."""
    verdicts: tuple[VerdictTotal, ...]
    """One for every verdict, from the mildest to the most severe."""


def utc_now() -> datetime:
    """The clock of a store that is given no other."""
    return datetime.now(UTC)


class Store:
    """The findings database behind `engine`.  Every method is one transaction and raises StoreError."""

    def __init__(self, engine: Engine, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def create_campaign(
        self,
        *,
        name: str,
        old_spec: str,
        new_spec: str,
        profile: str,
        seed_first: int,
        model_version: str,
        budget_seconds: float | None = None,
        budget_programs: int | None = None,
    ) -> int:
        """Store a running campaign and return its number.  Texts are one line each and not empty."""
        values = {
            **_one_line_texts(
                name=name, old_spec=old_spec, new_spec=new_spec, profile=profile, model_version=model_version
            ),
            "seed_first": seed_first,
            "budget_seconds": budget_seconds,
            "budget_programs": budget_programs,
            "created_at": self._now(),
            "state": CampaignState.RUNNING.value,
        }
        with transaction(self._engine, "write") as connection:
            key = connection.execute(insert(CampaignTable).values(values)).inserted_primary_key
            assert key is not None, "one row was inserted"
            return int(key[0])

    def end_campaign(self, campaign: int, state: CampaignState) -> None:
        """Say how a campaign ended: its budget spent, or stopped."""
        with transaction(self._engine, "write") as connection:
            _check_campaign(connection, campaign)
            connection.execute(update(CampaignTable).where(CampaignTable.id == campaign).values(state=state.value))

    def campaigns(self) -> list[CampaignRow]:
        """All campaigns, newest first."""
        with transaction(self._engine, "read") as connection:
            rows = connection.execute(select(CampaignTable).order_by(CampaignTable.id.desc())).mappings()
            return [msgspec.convert(dict(row), CampaignRow) for row in rows]

    def record(self, result: BatchResult) -> None:
        """Store a batch and all it found, or nothing.  A batch that is stored already changes nothing."""
        for found in result.findings:
            _check_size(signature(found.finding), found.reproducer)
        now = self._now()
        with transaction(self._engine, "write") as connection:
            _check_campaign(connection, result.campaign)
            batch = _insert_batch(connection, result, now)
            if batch is None or not result.findings:
                return
            ids = _count_findings(connection, result, batch, now)
            reproducers = [
                {
                    "finding_id": ids[signature(found.finding)],
                    "program_seed": found.first_seed,
                    "severity": SEVERITY[found.finding.verdict],
                    "body": found.reproducer,
                    "minimized": False,
                    "stored_at": now,
                }
                for found in result.findings
                if found.reproducer is not None
            ]
            if reproducers:
                connection.execute(_keep_better(connection), reproducers)

    def findings(
        self, campaign: int | None = None, verdict: Verdict | None = None, limit: int = 100
    ) -> list[FindingRow]:
        """Findings of one or all campaigns, the most severe first, then the last seen."""
        query = _select_findings()
        if campaign is not None:
            query = query.where(FindingTable.campaign_id == campaign)
        if verdict is not None:
            query = query.where(FindingTable.severity == SEVERITY[verdict])
        query = query.order_by(FindingTable.severity.desc(), FindingTable.last_seen.desc(), FindingTable.id.desc())
        with transaction(self._engine, "read") as connection:
            return [_finding_row(row) for row in connection.execute(query.limit(limit)).mappings()]

    def finding(self, signature: str, campaign: int | None = None) -> FindingRow | None:
        """The finding with that signature, of the newest campaign that has it unless one is named."""
        query = _of_signature(_select_findings(), signature, campaign)
        with transaction(self._engine, "read") as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else _finding_row(row)

    def occurrences(self, signature: str, campaign: int | None = None) -> list[Occurrence]:
        """The first OCCURRENCES_MAX batches that showed a finding; one carries the reproducer made from its seed."""
        finding = _of_signature(select(FindingTable.id), signature, campaign).scalar_subquery()
        query = (
            select(OccurrenceTable.program_seed, OccurrenceTable.count, ReproducerTable.body)
            .outerjoin(
                ReproducerTable,
                (ReproducerTable.finding_id == OccurrenceTable.finding_id)
                & (ReproducerTable.program_seed == OccurrenceTable.program_seed),
            )
            .where(OccurrenceTable.finding_id == finding)
            .order_by(OccurrenceTable.program_seed)
        )
        with transaction(self._engine, "read") as connection:
            return [Occurrence(seed, count, body) for seed, count, body in connection.execute(query)]

    def reproducer(self, signature: str, campaign: int | None = None) -> bytes | None:
        """Content of the best reproducer file of a finding, of the newest campaign that has it unless one is named."""
        query = _of_signature(select(ReproducerTable.body).join(FindingTable), signature, campaign)
        with transaction(self._engine, "read") as connection:
            return connection.execute(query).scalars().first()

    def improve_reproducer(
        self,
        signature: str,
        body: bytes,
        operations: int,
        preemptions: int,
        digest: str,
        *,
        campaign: int | None = None,
        verdict: Verdict | None = None,
    ) -> bool:
        """Offer a minimized reproducer; True if it is now the stored one.

        It must replay to a verdict as severe as that of the stored one, and among minimized ones have fewer
        operations, then fewer preemptions, then fewer bytes.  Without `verdict` it is taken to show the finding's own.
        """
        _check_size(signature, body)
        query = _of_signature(
            select(
                FindingTable.id, FindingTable.severity, FindingTable.first_seed, ReproducerTable.program_seed
            ).outerjoin(ReproducerTable),
            signature,
            campaign,
        )
        with transaction(self._engine, "write") as connection:
            row = connection.execute(query).first()
            if row is None:
                raise StoreError(f"no finding {signature!r}")
            values = {
                "finding_id": row.id,
                "program_seed": row.first_seed if row.program_seed is None else row.program_seed,
                "severity": row.severity if verdict is None else SEVERITY[verdict],
                "body": body,
                "minimized": True,
                "operations": operations,
                "preemptions": preemptions,
                "digest": digest,
                "stored_at": self._now(),
            }
            return connection.execute(_keep_better(connection), values).rowcount > 0

    def totals(self, campaign: int) -> Totals:
        """What the stored batches of a campaign add up to."""
        batches = select(
            func.count(),
            func.coalesce(func.sum(BatchTable.programs), 0),
            func.coalesce(func.sum(BatchTable.steps), 0),
            func.coalesce(func.sum(BatchTable.seconds), 0.0),
            func.coalesce(func.max(BatchTable.coverage), 0),
        ).where(BatchTable.campaign_id == campaign)
        findings = (
            select(FindingTable.severity, func.count(), func.sum(FindingTable.count))
            .where(FindingTable.campaign_id == campaign)
            .group_by(FindingTable.severity)
        )
        with transaction(self._engine, "read") as connection:
            _check_campaign(connection, campaign)
            numbers = connection.execute(batches).one()
            found = {severity: (rows, int(count)) for severity, rows, count in connection.execute(findings)}
        verdicts = tuple(VerdictTotal(verdict, *found.get(SEVERITY[verdict], (0, 0))) for verdict in SEVERITY)
        return Totals(numbers[0], int(numbers[1]), int(numbers[2]), numbers[3], numbers[4], verdicts)


def _insert_batch(connection: Connection, result: BatchResult, now: datetime) -> int | None:
    """The id of the new batch row, or None if the batch was there."""
    statement = _upsert(connection, BatchTable).values(
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


def _count_findings(connection: Connection, result: BatchResult, batch: int, now: datetime) -> dict[str, int]:
    """Add a batch's findings to the finding rows and note the occurrences; returns row ids by signature."""
    merged = _merged(result.findings)
    statement = _upsert(connection, FindingTable)
    new, old = statement.excluded, FindingTable
    shown_anew = tuple_(-new.severity, new.first_seed) < tuple_(-old.severity, old.first_seed)
    upsert = statement.on_conflict_do_update(
        index_elements=["campaign_id", "signature"],
        set_={
            "count": old.count + new.count,
            "batches": old.batches + 1,
            "last_seen": case((new.last_seen > old.last_seen, new.last_seen), else_=old.last_seen),
            **{name: case((shown_anew, new[name]), else_=getattr(old, name)) for name in _SHOWN},
        },
    )
    connection.execute(upsert, [_finding_values(found, result.campaign, now) for found in merged.values()])
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


def _keep_better(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """Inserts reproducers, of each finding the one that costs least."""
    statement = _upsert(connection, ReproducerTable)
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


def _upsert(connection: Connection, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say `on_conflict_…`: the same words in both dialects, but not part of their common base.

    Its outcome is the row count, which SQLAlchemy forgets unless told: RETURNING is in SQLite since 3.35 only, and
    Enterprise Linux 9 ships 3.34.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).execution_options(preserve_rowcount=True)


def _select_findings() -> Select[*tuple[Any, ...]]:
    reproducer = (
        func.length(ReproducerTable.body).label("bytes_total"),
        ReproducerTable.minimized,
        ReproducerTable.operations,
        ReproducerTable.preemptions,
        ReproducerTable.digest,
    )
    return select(*FindingTable.__table__.columns, *reproducer).select_from(FindingTable).outerjoin(ReproducerTable)


def _of_signature(query: Select[*_Columns], signature: str, campaign: int | None) -> Select[*_Columns]:
    """Narrows a query that has FindingTable to one finding: that of the newest campaign unless one is named."""
    query = query.where(FindingTable.signature == signature).order_by(FindingTable.campaign_id.desc()).limit(1)
    return query if campaign is None else query.where(FindingTable.campaign_id == campaign)


def _finding_values(found: FoundFinding, campaign: int, now: datetime) -> dict[str, Any]:
    return {
        **{name: value for name, value in msgspec.to_builtins(found.finding).items() if name in _FIELDS},
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


def _finding_row(row: RowMapping) -> FindingRow:
    reproducer = None
    if row["bytes_total"] is not None:
        reproducer = ReproducerRow(**{name: row[name] for name in ReproducerRow.__struct_fields__})
    return FindingRow(
        campaign=row["campaign_id"],
        signature=row["signature"],
        finding=msgspec.convert({name: row[name] for name in _FIELDS}, Finding),
        state=FindingState(row["state"]),
        count=row["count"],
        batches=row["batches"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        first_seed=row["first_seed"],
        reproducer=reproducer,
    )


def _check_campaign(connection: Connection, campaign: int) -> None:
    if connection.execute(select(CampaignTable.id).where(CampaignTable.id == campaign)).first() is None:
        raise StoreError(f"no campaign {campaign}")


def _check_size(signature: str, body: bytes | None) -> None:
    if body is not None and len(body) > REPRODUCER_BYTES_MAX:
        raise StoreError(f"reproducer of {signature}: {len(body)} bytes, at most {REPRODUCER_BYTES_MAX} are kept")


def _one_line_texts(**texts: str) -> dict[str, str]:
    """The texts, which lists and terminals show: a control character in them could draw anything there."""
    for name, text in texts.items():
        if not text or len(text) > _TEXT_CHARS_MAX or not text.isprintable():
            raise StoreError(f"{name.replace('_', ' ')}: expected 1 to {_TEXT_CHARS_MAX} printable characters")
    return texts
