# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns, batches, findings, occurrences and reproducers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


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
        sa.Column("id", _INT, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("old_spec", sa.Text(), nullable=False),
        sa.Column("new_spec", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("seed_first", _INT, nullable=False),
        sa.Column("budget_seconds", sa.Double(), nullable=True),
        sa.Column("budget_programs", _INT, nullable=True),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
    )


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", _INT, nullable=False),
        sa.Column("campaign_id", _INT, nullable=False),
        sa.Column("number", _INT, nullable=False),
        sa.Column("seed_first", _INT, nullable=False),
        sa.Column("programs", _INT, nullable=False),
        sa.Column("steps", _INT, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("coverage", _INT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stored_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.UniqueConstraint("campaign_id", "number", name="uq_batches_campaign_id_number"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], "fk_batches_campaign_id", ondelete="CASCADE"),
    )


def _create_findings() -> None:
    op.create_table(
        "findings",
        sa.Column("id", _INT, nullable=False),
        sa.Column("campaign_id", _INT, nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("effects", sa.JSON(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("leader", sa.Text(), nullable=False),
        sa.Column("patches", sa.JSON(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("sites", sa.JSON(), nullable=False),
        sa.Column("story", sa.Text(), nullable=False),
        sa.Column("severity", _INT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("count", _INT, nullable=False),
        sa.Column("batches", _INT, nullable=False),
        sa.Column("first_seen", _TIME, nullable=False),
        sa.Column("last_seen", _TIME, nullable=False),
        sa.Column("first_seed", _INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_findings"),
        sa.UniqueConstraint("campaign_id", "signature", name="uq_findings_campaign_id_signature"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], "fk_findings_campaign_id", ondelete="CASCADE"),
    )
    for columns in (["signature"], ["campaign_id", "severity", "last_seen"], ["severity", "last_seen"]):
        op.create_index("_".join(["ix_findings", *columns]), "findings", columns)


def _create_occurrences() -> None:
    op.create_table(
        "occurrences",
        sa.Column("id", _INT, nullable=False),
        sa.Column("finding_id", _INT, nullable=False),
        sa.Column("batch_id", _INT, nullable=False),
        sa.Column("program_seed", _INT, nullable=False),
        sa.Column("count", _INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_occurrences"),
        sa.UniqueConstraint("finding_id", "batch_id", name="uq_occurrences_finding_id_batch_id"),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], "fk_occurrences_finding_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], "fk_occurrences_batch_id", ondelete="CASCADE"),
    )
    op.create_index("ix_occurrences_batch_id", "occurrences", ["batch_id"])


def _create_reproducers() -> None:
    op.create_table(
        "reproducers",
        sa.Column("finding_id", _INT, autoincrement=False, nullable=False),
        sa.Column("program_seed", _INT, nullable=False),
        sa.Column("severity", _INT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("minimized", sa.Boolean(), nullable=False),
        sa.Column("operations", _INT, nullable=True),
        sa.Column("preemptions", _INT, nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("stored_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("finding_id", name="pk_reproducers"),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], "fk_reproducers_finding_id", ondelete="CASCADE"),
    )
