# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns, batches and findings, as a search on one machine stores them and people read them.

Every query is in this package; what goes in and comes out are frozen Structs, never table rows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeVarTuple

import msgspec
from sqlalchemy import Select, func, select, update
from sqlalchemy.engine import RowMapping

from db.batches import insert_batch
from db.campaigns import CampaignRow, NewCampaign, check_campaign, find_campaign, insert_campaign
from db.findings import FINDING_FIELDS, check_size, count_findings, keep_reproducers
from db.merges import is_shown_by_another
from db.notifications import note_findings
from db.repository import Repository
from db.schema import (
    SEVERITY,
    BatchTable,
    CampaignState,
    CampaignTable,
    FindingState,
    FindingTable,
    OccurrenceTable,
    ReproducerTable,
)
from db.session import StoreError, transaction
from db.traces import TraceRow, unjudged_traces
from fuzzer.judge.finding import BatchResult, Finding, Occurrence, Verdict, signature
from reference_mmu.record import Record

_Columns = TypeVarTuple("_Columns")
_WORST_FIRST: Final = (FindingTable.rank.desc(), FindingTable.last_seen.desc(), FindingTable.id.desc())


class ReproducerRow(Record):
    """The stored reproducer of a finding, without its body.  Sizes and trace digest are known once it is minimized."""

    bytes_total: int
    minimized: bool
    operations: int | None
    preemptions: int | None
    digest: str | None


class FindingRow(Record):
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
    known: str
    """The known hole that it is, "" if it is none."""


class VerdictTotal(Record):
    """Signatures of one verdict, how many programs showed one of them, and how many signatures are known holes."""

    verdict: Verdict
    findings: int
    count: int
    known: int


class Totals(Record):
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


class Store(Repository):
    """The findings database behind `engine`.  Every method is one transaction and raises StoreError."""

    def create_campaign(self, campaign: NewCampaign) -> int:
        """Store a running campaign and return its number."""
        with transaction(self._engine, "write") as connection:
            return insert_campaign(connection, self._now(), campaign)

    def end_campaign(self, campaign: int, state: CampaignState) -> None:
        """Say how a campaign ended: its budget spent, or stopped."""
        with transaction(self._engine, "write") as connection:
            check_campaign(connection, campaign)
            connection.execute(update(CampaignTable).where(CampaignTable.id == campaign).values(state=state.value))

    def campaign(self, number: int) -> CampaignRow:
        """The campaign of that number.  Raises NoCampaign."""
        with transaction(self._engine, "read") as connection:
            return find_campaign(connection, number)

    def campaigns(
        self, limit: int | None = None, before: int | None = None, state: CampaignState | None = None
    ) -> list[CampaignRow]:
        """Campaigns, newest first: all, or of a state, or older than the one of number `before`, at most `limit`."""
        query = select(CampaignTable).order_by(CampaignTable.id.desc()).limit(limit)
        if before is not None:
            query = query.where(CampaignTable.id < before)
        if state is not None:
            query = query.where(CampaignTable.state == state.value)
        with transaction(self._engine, "read") as connection:
            return [msgspec.convert(dict(row), CampaignRow) for row in connection.execute(query).mappings()]

    def record(self, result: BatchResult) -> None:
        """Store a batch and all it found, or nothing.  A batch that is stored already changes nothing."""
        for found in result.findings:
            check_size(signature(found.finding), found.reproducer)
        now = self._now()
        with transaction(self._engine, "write") as connection:
            check_campaign(connection, result.campaign)
            batch = insert_batch(connection, result, now)
            if batch is None or not result.findings:
                return
            ids = count_findings(connection, result, batch, now)
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
            keep_reproducers(connection, reproducers)
            note_findings(connection, ids.values(), now)

    def findings(
        self, campaign: int | None = None, verdict: Verdict | None = None, limit: int = 100
    ) -> list[FindingRow]:
        """Findings of one or all campaigns, the most severe first, then the last seen.  Known holes stand below what
        both models have."""
        query = _select_findings()
        query = query.where(~is_shown_by_another())
        if campaign is not None:
            query = query.where(FindingTable.campaign_id == campaign)
        if verdict is not None:
            query = query.where(FindingTable.severity == SEVERITY[verdict])
        query = query.order_by(*_WORST_FIRST)
        with transaction(self._engine, "read") as connection:
            return [_finding_row(row) for row in connection.execute(query.limit(limit)).mappings()]

    def unjudged(self, campaign: int | None = None, limit: int = 100) -> list[TraceRow]:
        """What workers saw in one or all campaigns and nobody has judged yet, the last seen first."""
        with transaction(self._engine, "read") as connection:
            return unjudged_traces(connection, campaign, limit)

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

    def reproducers(self, campaign: int, signatures: Sequence[str]) -> list[tuple[str, bytes]]:
        """The reproducer files of these findings, of those that have one, in the order of `findings`. One may have a
        megabyte: ask for a few at a time."""
        query = (
            select(FindingTable.signature, ReproducerTable.body)
            .join(ReproducerTable)
            .where(FindingTable.campaign_id == campaign, FindingTable.signature.in_(signatures))
            .order_by(*_WORST_FIRST)
        )
        with transaction(self._engine, "read") as connection:
            return [(name, body) for name, body in connection.execute(query)]

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
        check_size(signature, body)
        at = self._now()
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
                "stored_at": at,
            }
            is_better = keep_reproducers(connection, [values])
            note_findings(connection, [row.id], at)
            return is_better

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
            select(FindingTable.severity, func.count(), func.sum(FindingTable.count), func.count(FindingTable.known))
            .where(FindingTable.campaign_id == campaign)
            .group_by(FindingTable.severity)
        )
        with transaction(self._engine, "read") as connection:
            check_campaign(connection, campaign)
            numbers = connection.execute(batches).one()
            found = {row[0]: (row[1], int(row[2]), row[3]) for row in connection.execute(findings)}
        verdicts = tuple(VerdictTotal(verdict, *found.get(SEVERITY[verdict], (0, 0, 0))) for verdict in SEVERITY)
        return Totals(numbers[0], int(numbers[1]), int(numbers[2]), numbers[3], numbers[4], verdicts)


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


def _finding_row(row: RowMapping) -> FindingRow:
    reproducer = None
    if row["bytes_total"] is not None:
        reproducer = ReproducerRow(**{name: row[name] for name in ReproducerRow.__struct_fields__})
    return FindingRow(
        campaign=row["campaign_id"],
        signature=row["signature"],
        finding=msgspec.convert({name: row[name] for name in FINDING_FIELDS}, Finding),
        state=FindingState(row["state"]),
        count=row["count"],
        batches=row["batches"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        first_seed=row["first_seed"],
        reproducer=reproducer,
        known=row["known"] or "",
    )
