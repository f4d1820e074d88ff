# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns, batches, findings, occurrences and reproducers."""

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import INTEGER, TEXT, TIME, columns, create_index, key, nullable, reference, unique

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_campaigns()
    _create_batches()
    _create_findings()
    _create_occurrences()
    _create_reproducers()


def downgrade() -> None:
    for table in ("reproducers", "occurrences", "findings", "batches", "campaigns"):
        op.drop_table(table)


def _create_campaigns() -> None:
    op.create_table(
        "campaigns",
        *columns(INTEGER, "id"),
        *columns(TEXT, "name"),
        *columns(TIME, "created_at"),
        *columns(TEXT, "old_spec", "new_spec", "profile"),
        *columns(INTEGER, "seed_first"),
        *nullable(sa.Double(), "budget_seconds"),
        *nullable(INTEGER, "budget_programs"),
        *columns(TEXT, "model_version", "state"),
        key("campaigns", "id"),
    )


def _create_batches() -> None:
    op.create_table(
        "batches",
        *columns(INTEGER, "id", "campaign_id", "number", "seed_first", "programs", "steps"),
        *columns(sa.Double(), "seconds"),
        *columns(INTEGER, "coverage"),
        *columns(TEXT, "state"),
        *columns(TIME, "stored_at"),
        key("batches", "id"),
        unique("batches", "campaign_id", "number"),
        reference("batches", "campaign_id", "campaigns"),
    )


def _create_findings() -> None:
    op.create_table(
        "findings",
        *columns(INTEGER, "id", "campaign_id"),
        *columns(TEXT, "signature", "kind", "what"),
        *columns(sa.JSON(), "effects"),
        *columns(TEXT, "side", "leader"),
        *columns(sa.JSON(), "patches"),
        *columns(TEXT, "direction", "verdict"),
        *columns(sa.JSON(), "sites"),
        *columns(TEXT, "story"),
        *columns(INTEGER, "severity"),
        *columns(TEXT, "state"),
        *columns(INTEGER, "count", "batches"),
        *columns(TIME, "first_seen", "last_seen"),
        *columns(INTEGER, "first_seed"),
        key("findings", "id"),
        unique("findings", "campaign_id", "signature"),
        reference("findings", "campaign_id", "campaigns"),
    )
    for names in (["signature"], ["campaign_id", "severity", "last_seen"], ["severity", "last_seen"]):
        create_index("findings", *names)


def _create_occurrences() -> None:
    op.create_table(
        "occurrences",
        *columns(INTEGER, "id", "finding_id", "batch_id", "program_seed", "count"),
        key("occurrences", "id"),
        unique("occurrences", "finding_id", "batch_id"),
        reference("occurrences", "finding_id", "findings"),
        reference("occurrences", "batch_id", "batches"),
    )
    create_index("occurrences", "batch_id")


def _create_reproducers() -> None:
    op.create_table(
        "reproducers",
        sa.Column("finding_id", INTEGER, autoincrement=False, nullable=False),
        *columns(INTEGER, "program_seed", "severity"),
        *columns(sa.LargeBinary(), "body"),
        *columns(sa.Boolean(), "minimized"),
        *nullable(INTEGER, "operations", "preemptions"),
        *nullable(TEXT, "digest"),
        *columns(TIME, "stored_at"),
        key("reproducers", "finding_id"),
        reference("reproducers", "finding_id", "findings"),
    )
