# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns that many workers run: fleets, tasks, traces, sightings, judgements, pending occurrences, workers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
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


def _references(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], f"fk_{table}_{column}", ondelete="CASCADE")


def _create_fleets() -> None:
    op.create_table(
        "fleets",
        sa.Column("campaign_id", _INT, autoincrement=False, nullable=False),
        sa.Column("batch_programs", _INT, nullable=False),
        sa.Column("until_regression", sa.Boolean(), nullable=False),
        sa.Column("slots_max", _INT, nullable=True),
        sa.Column("next_number", _INT, nullable=False),
        sa.Column("next_folded", _INT, nullable=False),
        sa.Column("next_judgement", _INT, nullable=False),
        sa.Column("next_settled", _INT, nullable=False),
        sa.Column("redeliveries", _INT, nullable=False),
        sa.Column("ran_seconds", sa.Double(), nullable=False),
        sa.Column("running_since", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("campaign_id", name="pk_fleets"),
        _references("fleets", "campaign_id", "campaigns"),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", _INT, nullable=False),
        sa.Column("campaign_id", _INT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", _INT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("published_at", _TIME, nullable=True),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("starts", _INT, nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.UniqueConstraint("campaign_id", "kind", "number", name="uq_tasks_campaign_id_kind_number"),
        _references("tasks", "campaign_id", "campaigns"),
    )


def _create_traces() -> None:
    op.create_table(
        "traces",
        sa.Column("id", _INT, nullable=False),
        sa.Column("campaign_id", _INT, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("count", _INT, nullable=False),
        sa.Column("folded", _INT, nullable=False),
        sa.Column("first_seed", _INT, nullable=False),
        sa.Column("first_seen", _TIME, nullable=False),
        sa.Column("last_seen", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_traces"),
        sa.UniqueConstraint("campaign_id", "key", name="uq_traces_campaign_id_key"),
        _references("traces", "campaign_id", "campaigns"),
    )


def _create_sightings() -> None:
    op.create_table(
        "sightings",
        sa.Column("id", _INT, nullable=False),
        sa.Column("batch_id", _INT, nullable=False),
        sa.Column("trace_id", _INT, nullable=False),
        sa.Column("seeds", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sightings"),
        sa.UniqueConstraint("batch_id", "trace_id", name="uq_sightings_batch_id_trace_id"),
        _references("sightings", "batch_id", "batches"),
        _references("sightings", "trace_id", "traces"),
    )
    op.create_index("ix_sightings_trace_id", "sightings", ["trace_id"])


def _create_judgements() -> None:
    op.create_table(
        "judgements",
        sa.Column("id", _INT, nullable=False),
        sa.Column("campaign_id", _INT, nullable=False),
        sa.Column("number", _INT, nullable=False),
        sa.Column("trace_id", _INT, nullable=False),
        sa.Column("seed", _INT, nullable=False),
        sa.Column("task", _INT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("finding", sa.JSON(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("leader_id", _INT, nullable=True),
        sa.Column("finding_id", _INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_judgements"),
        sa.UniqueConstraint("campaign_id", "number", name="uq_judgements_campaign_id_number"),
        _references("judgements", "campaign_id", "campaigns"),
        _references("judgements", "trace_id", "traces"),
        _references("judgements", "leader_id", "judgements"),
        _references("judgements", "finding_id", "findings"),
    )
    for columns in (
        ["campaign_id", "cause"],
        ["campaign_id", "task"],
        ["campaign_id", "state", "number"],
        ["trace_id", "number"],
        ["leader_id"],
        ["finding_id"],
    ):
        op.create_index("_".join(["ix_judgements", *columns]), "judgements", columns)


def _create_pending_occurrences() -> None:
    op.create_table(
        "pending_occurrences",
        sa.Column("id", _INT, nullable=False),
        sa.Column("judgement_id", _INT, nullable=False),
        sa.Column("batch_id", _INT, nullable=False),
        sa.Column("program_seed", _INT, nullable=False),
        sa.Column("count", _INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pending_occurrences"),
        sa.UniqueConstraint("judgement_id", "batch_id", name="uq_pending_occurrences_judgement_id_batch_id"),
        _references("pending_occurrences", "judgement_id", "judgements"),
        _references("pending_occurrences", "batch_id", "batches"),
    )
    op.create_index("ix_pending_occurrences_batch_id", "pending_occurrences", ["batch_id"])


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", _INT, nullable=False),
        sa.Column("slots", _INT, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
