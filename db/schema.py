# SPDX-License-Identifier: GPL-2.0-only
"""The tables.  Every construct means the same on SQLite and on PostgreSQL.

    campaign 1 ── n batch 1 ── n occurrence n ── 1 finding 1 ── 0..1 reproducer
        └──────────────────────── n ──────────────────┘

A campaign that a fleet of workers runs has some more, which are read from left to right: tasks are handed out, a batch
notes what it saw (sightings of traces), of which some are judged, and every judgement ends at a finding.

    campaign 1 ── 0..1 fleet      campaign 1 ── n task
    batch 1 ── n sighting n ── 1 trace 1 ── n judgement n ── 1 finding
                                                  └── n pending occurrence, until there is the finding

What became of a finding since it was found:

    finding 1 ── n history        finding 1 ── n recheck        signature 1 ── 0..1 merge, notification

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

from fuzzer.judge.finding import Verdict

# Stored, to sort by: gaps leave room for a verdict between two of these without touching old rows.
SEVERITY: Final = {
    Verdict.DOCUMENTED: 10,
    Verdict.FIXED: 20,
    Verdict.FIXED_SILENTLY: 30,
    Verdict.BASELINE: 40,
    Verdict.UNEXPLAINED: 50,
    Verdict.REGRESSION: 60,
}
FAILURES: Final = [SEVERITY[verdict] for verdict in (Verdict.REGRESSION, Verdict.UNEXPLAINED)]
KNOWN_RANK: Final = 35
"""Where a known hole stands in a list: below every baseline, above what is mended or announced."""


class CampaignState(StrEnum):
    """Life of a campaign."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"


ENDED: Final = (CampaignState.FINISHED, CampaignState.STOPPED)


class BatchState(StrEnum):
    """Life of a batch.  Only a batch whose result is stored has a row so far."""

    DONE = "done"


class TaskKind(StrEnum):
    """What a worker can be asked to do; `number` is that of a batch or, of several the first, judgement."""

    BATCH = "batch"
    JUDGE = "judge"
    MINIMIZE = "minimize"


class TaskState(StrEnum):
    """Life of a task, which has a row only until its result is stored."""

    OPEN = "open"
    ASIDE = "aside"
    """Given up after too many attempts; `error` says why."""


class JudgementState(StrEnum):
    """Life of a judgement."""

    OPEN = "open"
    JUDGED = "judged"
    SETTLED = "settled"
    """It is known to be the first judgement of its cause, or which one is."""


class FindingState(StrEnum):
    """Life of a finding, see db.history for who moves it."""

    OPEN = "open"
    """It shows, as far as anyone knows."""
    FIXED = "fixed"
    """The very same steps no longer show it."""
    GONE = "no-longer-reproduces"
    """The steps of its reproducer can no longer be taken: nothing is known about the bug."""
    INVALID = "invalid"
    """Its reproducer cannot be run, or a person says that it is no finding."""


class HistoryEvent(StrEnum):
    """What happened to a finding."""

    COMMENT = "comment"
    STATE = "state"
    """A person moved it to another state."""
    RECHECK = "recheck"
    MERGE = "merge"
    SPLIT = "split"


class NotificationState(StrEnum):
    """Life of a notification."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given-up"


class Level(StrEnum):
    """What a token allows, each more than the one before."""

    READ = "read"
    OPERATE = "operate"
    """Upload reproducers, change what is stored about findings and campaigns."""
    ADMIN = "admin"
    """Give out and revoke tokens."""


class UploadKind(StrEnum):
    """What was uploaded."""

    REPRODUCER = "reproducer"
    PROGRAM = "program"
    """A program without a schedule: one is searched for."""


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
        list[str]: JSON(none_as_null=True),
        list[int]: JSON(),
        dict[str, Any]: JSON(none_as_null=True),
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
    strategies: Mapped[list[str] | None]
    """Strategies of the schedulers, each used as often as the others; null for all there are."""


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
    """A bug of a campaign.  The columns from kind to story are the fields of fuzzer.judge.finding.Finding, by name.

    Findings of one signature can differ in verdict, side, leader and story.  The row shows the most severe of them,
    of several such the one with the lowest seed, so that it does not depend on the order in which batches come in.
    """

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("campaign_id", "signature"),
        Index(None, "signature"),
        Index(None, "campaign_id", "severity", "last_seen"),
        Index(None, "severity", "last_seen"),
        Index(None, "campaign_id", "rank", "last_seen"),
        Index(None, "rank", "last_seen"),
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
    """Batches that showed it: also the ticket number that caps the occurrences.  Once these are capped, a batch of a
    fleet that is counted in two parts, as some of its programs were still to be judged, counts twice."""
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    first_seed: Mapped[int]
    """Lowest program seed that showed it with this verdict."""
    known: Mapped[str | None]
    """The known hole that it is, by its reproducer; null if it is none, or nobody can tell. See db.holes."""
    rank: Mapped[int] = mapped_column(server_default="0")
    """What lists sort by: its severity, or KNOWN_RANK if it is known."""


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


class FleetTable(Base):
    """What a campaign needs to be run by many workers.

    Its row is the lock of the campaign: who changes more than a single batch or task takes it first.
    """

    __tablename__ = "fleets"
    __table_args__ = (Index(None, "request", unique=True),)

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    batch_programs: Mapped[int]
    until_regression: Mapped[bool]
    """Ends with the first finding of that verdict that is no known hole."""
    slots_max: Mapped[int | None]
    """Search processes that may work for it at a time."""
    next_number: Mapped[int]
    """Number of the next batch to hand out."""
    next_folded: Mapped[int]
    """Number of the next batch whose sightings are to be folded: all below are done or set aside."""
    next_judgement: Mapped[int]
    next_settled: Mapped[int]
    """Number of the next judgement to settle."""
    redeliveries: Mapped[int]
    """How often a task was begun that had been begun before."""
    ran_seconds: Mapped[float]
    """Time it has been running, up to `running_since`."""
    running_since: Mapped[datetime | None]
    """Null while it is paused, has ended, or has not met a worker yet."""
    task_seconds: Mapped[int | None]
    """A task that takes longer fails; null for the limit of the workers."""
    memory_mib: Mapped[int | None]
    """A task that takes more memory fails; null for no limit."""
    request: Mapped[str | None]
    """Digest of the request that it was made for: the same one, sent again, makes no other. Null if it has no key."""


class TaskTable(Base):
    """Work that was handed out, or is about to be, and is not stored yet.

    The broker only carries the word that there is work; what work there is stands here, so a broker may lose
    everything.  See db.dispatch for when a task is published again.
    """

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("campaign_id", "kind", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    kind: Mapped[str]
    number: Mapped[int]
    state: Mapped[str]
    published_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    starts: Mapped[int]
    """How often a worker began it."""
    worker: Mapped[str | None]
    """Who began it last."""
    error: Mapped[str | None]


class TraceTable(Base):
    """What a finding looks like before anyone asked why, see fuzzer.sighting."""

    __tablename__ = "traces"
    __table_args__ = (UniqueConstraint("campaign_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    key: Mapped[str]
    count: Mapped[int]
    """Programs of stored batches that showed it: none yet of a glimpse, see db.glimpses."""
    folded: Mapped[int]
    """How many of them are counted at a judgement."""
    first_seed: Mapped[int]
    """Lowest program seed that showed it."""
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]


class SightingTable(Base):
    """Which programs of a batch showed a trace, until the batch is folded."""

    __tablename__ = "sightings"
    __table_args__ = (UniqueConstraint("batch_id", "trace_id"), Index(None, "trace_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"))
    trace_id: Mapped[int] = mapped_column(ForeignKey("traces.id", ondelete="CASCADE"))
    seeds: Mapped[list[int]]


class JudgementTable(Base):
    """One program that was asked why it shows a trace."""

    __tablename__ = "judgements"
    __table_args__ = (
        UniqueConstraint("campaign_id", "number"),
        Index(None, "campaign_id", "cause"),
        Index(None, "campaign_id", "task"),
        Index(None, "campaign_id", "state", "number"),
        Index(None, "trace_id", "number"),
        Index(None, "leader_id"),
        Index(None, "finding_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    number: Mapped[int]
    trace_id: Mapped[int] = mapped_column(ForeignKey("traces.id", ondelete="CASCADE"))
    seed: Mapped[int]
    task: Mapped[int]
    """Number of the task that makes it or, once it leads, minimizes it, together with a few others; see db.groups."""
    state: Mapped[str]
    finding: Mapped[dict[str, Any] | None]
    """The finding as it was judged, before minimization; null if it could not be judged."""
    cause: Mapped[str | None]
    """What makes two judgements the same bug before minimization."""
    leader_id: Mapped[int | None] = mapped_column(ForeignKey("judgements.id", ondelete="CASCADE"))
    """The first judgement of the same cause, which alone is minimized."""
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id", ondelete="CASCADE"))


class PendingOccurrenceTable(Base):
    """An occurrence of a finding that is not known yet."""

    __tablename__ = "pending_occurrences"
    __table_args__ = (UniqueConstraint("judgement_id", "batch_id"), Index(None, "batch_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    judgement_id: Mapped[int] = mapped_column(ForeignKey("judgements.id", ondelete="CASCADE"))
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"))
    program_seed: Mapped[int]
    count: Mapped[int]


class WorkerTable(Base):
    """A worker that is, or was, there."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    slots: Mapped[int]
    """Tasks that it does at a time."""
    model_version: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """When it last said that it is there."""


class HistoryTable(Base):
    """What happened to a finding after it was found; only ever added to."""

    __tablename__ = "history"
    __table_args__ = (Index(None, "finding_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    who: Mapped[str]
    event: Mapped[str]
    from_state: Mapped[str]
    to_state: Mapped[str]
    why: Mapped[str]


class RecheckTable(Base):
    """A reproducer that another model version than the one it was found with has run, or was asked to run."""

    __tablename__ = "rechecks"

    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id", ondelete="CASCADE"), primary_key=True)
    model_version: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime]
    asks: Mapped[int]
    """How often a worker was asked to."""
    checked_at: Mapped[datetime | None]
    why: Mapped[str | None]
    """What came out."""


class MergeTable(Base):
    """A signature that a person says is the same bug as another one."""

    __tablename__ = "merges"
    __table_args__ = (Index(None, "target"),)

    signature: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str]
    """The signature that stands for both; itself not merged into a third."""
    at: Mapped[datetime]
    who: Mapped[str]
    why: Mapped[str]


class NotificationTable(Base):
    """A message about the first finding of a signature.  It outlives the finding: nobody is told twice."""

    __tablename__ = "notifications"
    __table_args__ = (UniqueConstraint("signature"), Index(None, "state", "next_try_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    signature: Mapped[str]
    body: Mapped[str]
    """The JSON to send."""
    state: Mapped[str]
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    last_try_at: Mapped[datetime | None]
    tries: Mapped[int]
    error: Mapped[str | None]
    """Why the last try failed."""


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
    """A reproducer or program that somebody uploaded, and what running it gave."""

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
    """What fuzzer.tell.export.trace_json makes of a reproducer, fuzzer.one_program of a program."""
    kind: Mapped[str] = mapped_column(server_default="reproducer")
