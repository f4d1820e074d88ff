# SPDX-License-Identifier: GPL-2.0-only
"""The tables.  Every construct means the same on SQLite and on PostgreSQL.

    campaign 1 ── n batch 1 ── n occurrence n ── 1 finding 1 ── 0..1 reproducer
        └──────────────────────── n ──────────────────┘

Deleting a row deletes what hangs below it.  A change here needs a revision in db/migrations/versions.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fuzzer.finding import Verdict

# Stored, to sort by: gaps leave room for a verdict between two of these without touching old rows.
SEVERITY: Final = {
    Verdict.DOCUMENTED: 10,
    Verdict.FIXED: 20,
    Verdict.FIXED_SILENTLY: 30,
    Verdict.BASELINE: 40,
    Verdict.UNEXPLAINED: 50,
    Verdict.REGRESSION: 60,
}


class CampaignState(StrEnum):
    """Life of a campaign."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"


class BatchState(StrEnum):
    """Life of a batch.  Only a batch whose result is stored has a row so far."""

    DONE = "done"


class FindingState(StrEnum):
    """Life of a finding."""

    OPEN = "open"


class Level(StrEnum):
    """What a token allows, each more than the one before."""

    READ = "read"
    OPERATE = "operate"
    """Upload reproducers, change what is stored about findings and campaigns."""
    ADMIN = "admin"
    """Give out and revoke tokens."""


class ReplayState(StrEnum):
    """Life of an uploaded reproducer."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class UtcDateTime(TypeDecorator[datetime]):
    """An instant.  SQLite keeps no time zone, so everything is stored in UTC and comes back aware."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a time without time zone: {value}")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value and value.astimezone(UTC)


class Base(DeclarativeBase):
    """Root of the tables.  Constraints get names, because a later revision can only drop what has one."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        # SQLite numbers rows by itself only in a column of type INTEGER, which there has 64 bits anyway.
        int: BigInteger().with_variant(Integer(), "sqlite"),
        float: Double(),
        str: Text(),
        bytes: LargeBinary(),
        list[str]: JSON(),
        datetime: UtcDateTime(),
    }


class CampaignTable(Base):
    """A configured search."""

    __tablename__ = "campaigns"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    old_spec: Mapped[str]
    new_spec: Mapped[str]
    profile: Mapped[str]
    seed_first: Mapped[int]
    budget_seconds: Mapped[float | None]
    budget_programs: Mapped[int | None]
    model_version: Mapped[str]
    state: Mapped[str]


class BatchTable(Base):
    """A seed range that was run: (campaign_id, number) is what makes storing it twice harmless."""

    __tablename__ = "batches"
    __table_args__ = (UniqueConstraint("campaign_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    number: Mapped[int]
    seed_first: Mapped[int]
    programs: Mapped[int]
    steps: Mapped[int]
    seconds: Mapped[float]
    coverage: Mapped[int]
    state: Mapped[str]
    stored_at: Mapped[datetime]


class FindingTable(Base):
    """A bug of a campaign.  The columns from kind to story are the fields of fuzzer.finding.Finding, by name.

    Findings of one signature can differ in verdict, side, leader and story.  The row shows the most severe of them,
    of several such the one with the lowest seed, so that it does not depend on the order in which batches come in.
    """

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("campaign_id", "signature"),
        Index(None, "signature"),
        Index(None, "campaign_id", "severity", "last_seen"),
        Index(None, "severity", "last_seen"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    signature: Mapped[str]
    kind: Mapped[str]
    what: Mapped[str]
    effects: Mapped[list[str]]
    side: Mapped[str]
    leader: Mapped[str]
    patches: Mapped[list[str]]
    direction: Mapped[str]
    verdict: Mapped[str]
    sites: Mapped[list[str]]
    story: Mapped[str]
    severity: Mapped[int]
    """Rank of the verdict, see SEVERITY."""
    state: Mapped[str]
    count: Mapped[int]
    """Programs that showed it."""
    batches: Mapped[int]
    """Batches that showed it: also the ticket number that caps the occurrences."""
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    first_seed: Mapped[int]
    """Lowest program seed that showed it with this verdict."""


class OccurrenceTable(Base):
    """A batch that showed a finding.  Capped per finding; findings.count goes on."""

    __tablename__ = "occurrences"
    __table_args__ = (UniqueConstraint("finding_id", "batch_id"), Index(None, "batch_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id", ondelete="CASCADE"))
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"))
    program_seed: Mapped[int]
    count: Mapped[int]


class ReproducerTable(Base):
    """The best reproducer of a finding so far."""

    __tablename__ = "reproducers"

    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id", ondelete="CASCADE"), primary_key=True)
    program_seed: Mapped[int]
    """The seed whose program it was made from."""
    severity: Mapped[int]
    """Rank of the verdict that replaying it shows."""
    body: Mapped[bytes]
    """The JSON file, byte for byte."""
    minimized: Mapped[bool]
    operations: Mapped[int | None]
    """Size after minimization, like preemptions and digest; unknown of a raw one."""
    preemptions: Mapped[int | None]
    digest: Mapped[str | None]
    """Digest of its trace."""
    stored_at: Mapped[datetime]


class TokenTable(Base):
    """Who may use the dashboard.  The token itself is known to its holder alone."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("name"), UniqueConstraint("digest"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[str]
    """SHA-256 of the token, in hexadecimal."""
    level: Mapped[str]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ReplayTable(Base):
    """A reproducer that somebody uploaded, and what replaying it gave."""

    __tablename__ = "replays"
    __table_args__ = (Index(None, "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """The receipt: from the content of the file, so that uploading it twice is one replay."""
    body: Mapped[bytes]
    state: Mapped[str]
    uploaded_by: Mapped[str]
    """Name of the token."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
    """Why there is no trace, in one line."""
    trace: Mapped[bytes | None]
    """What fuzzer.export.trace_json makes of it."""
