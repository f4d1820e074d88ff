# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns that many workers run: fleets, tasks, traces, sightings, judgements, pending occurrences, workers."""

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import INTEGER, TEXT, TIME, columns, create_index, key, nullable, reference, unique

revision = "0002"
down_revision = "0001"

_TABLES = ("fleets", "tasks", "traces", "sightings", "judgements", "pending_occurrences", "workers")


def upgrade() -> None:
    _create_fleets()
    _create_tasks()
    _create_traces()
    _create_sightings()
    _create_judgements()
    _create_pending_occurrences()
    _create_workers()


def downgrade() -> None:
    # A state that revision 0001 does not know.
    op.execute("UPDATE campaigns SET state = 'stopped' WHERE state = 'paused'")
    for table in reversed(_TABLES):
        op.drop_table(table)


def _create_fleets() -> None:
    op.create_table(
        "fleets",
        sa.Column("campaign_id", INTEGER, autoincrement=False, nullable=False),
        *columns(INTEGER, "batch_programs"),
        *columns(sa.Boolean(), "until_regression"),
        *nullable(INTEGER, "slots_max"),
        *columns(INTEGER, "next_number", "next_folded", "next_judgement", "next_settled", "redeliveries"),
        *columns(sa.Double(), "ran_seconds"),
        *nullable(TIME, "running_since"),
        key("fleets", "campaign_id"),
        reference("fleets", "campaign_id", "campaigns"),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        *columns(INTEGER, "id", "campaign_id"),
        *columns(TEXT, "kind"),
        *columns(INTEGER, "number"),
        *columns(TEXT, "state"),
        *nullable(TIME, "published_at", "started_at"),
        *columns(INTEGER, "starts"),
        *nullable(TEXT, "worker", "error"),
        key("tasks", "id"),
        unique("tasks", "campaign_id", "kind", "number"),
        reference("tasks", "campaign_id", "campaigns"),
    )


def _create_traces() -> None:
    op.create_table(
        "traces",
        *columns(INTEGER, "id", "campaign_id"),
        *columns(TEXT, "key"),
        *columns(INTEGER, "count", "folded", "first_seed"),
        *columns(TIME, "first_seen", "last_seen"),
        key("traces", "id"),
        unique("traces", "campaign_id", "key"),
        reference("traces", "campaign_id", "campaigns"),
    )


def _create_sightings() -> None:
    op.create_table(
        "sightings",
        *columns(INTEGER, "id", "batch_id", "trace_id"),
        *columns(sa.JSON(), "seeds"),
        key("sightings", "id"),
        unique("sightings", "batch_id", "trace_id"),
        reference("sightings", "batch_id", "batches"),
        reference("sightings", "trace_id", "traces"),
    )
    create_index("sightings", "trace_id")


def _create_judgements() -> None:
    op.create_table(
        "judgements",
        *columns(INTEGER, "id", "campaign_id", "number", "trace_id", "seed", "task"),
        *columns(TEXT, "state"),
        *nullable(sa.JSON(), "finding"),
        *nullable(TEXT, "cause"),
        *nullable(INTEGER, "leader_id", "finding_id"),
        key("judgements", "id"),
        unique("judgements", "campaign_id", "number"),
        reference("judgements", "campaign_id", "campaigns"),
        reference("judgements", "trace_id", "traces"),
        reference("judgements", "leader_id", "judgements"),
        reference("judgements", "finding_id", "findings"),
    )
    for names in (
        ["campaign_id", "cause"],
        ["campaign_id", "task"],
        ["campaign_id", "state", "number"],
        ["trace_id", "number"],
        ["leader_id"],
        ["finding_id"],
    ):
        create_index("judgements", *names)


def _create_pending_occurrences() -> None:
    op.create_table(
        "pending_occurrences",
        *columns(INTEGER, "id", "judgement_id", "batch_id", "program_seed", "count"),
        key("pending_occurrences", "id"),
        unique("pending_occurrences", "judgement_id", "batch_id"),
        reference("pending_occurrences", "judgement_id", "judgements"),
        reference("pending_occurrences", "batch_id", "batches"),
    )
    create_index("pending_occurrences", "batch_id")


def _create_workers() -> None:
    op.create_table(
        "workers",
        *columns(TEXT, "name", "host"),
        *columns(INTEGER, "pid", "slots"),
        *columns(TEXT, "model_version"),
        *columns(TIME, "started_at", "seen_at"),
        key("workers", "name"),
    )
