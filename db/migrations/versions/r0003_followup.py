# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a finding: history, rechecks, merges, notifications."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_history()
    _create_rechecks()
    _create_merges()
    _create_notifications()


def downgrade() -> None:
    # States that revision 0002 does not know.
    op.execute("UPDATE findings SET state = 'open'")
    for table in ("notifications", "merges", "rechecks", "history"):
        op.drop_table(table)


def _references_finding(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], f"fk_{table}_finding_id", ondelete="CASCADE")


def _create_history() -> None:
    op.create_table(
        "history",
        sa.Column("id", _INT, nullable=False),
        sa.Column("finding_id", _INT, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
        _references_finding("history"),
    )
    op.create_index("ix_history_finding_id", "history", ["finding_id"])


def _create_rechecks() -> None:
    op.create_table(
        "rechecks",
        sa.Column("finding_id", _INT, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("asks", _INT, nullable=False),
        sa.Column("checked_at", _TIME, nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("finding_id", "model_version", name="pk_rechecks"),
        _references_finding("rechecks"),
    )


def _create_merges() -> None:
    op.create_table(
        "merges",
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("signature", name="pk_merges"),
    )
    op.create_index("ix_merges_target", "merges", ["target"])


def _create_notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", _INT, nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("next_try_at", _TIME, nullable=False),
        sa.Column("last_try_at", _TIME, nullable=True),
        sa.Column("tries", _INT, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
        sa.UniqueConstraint("signature", name="uq_notifications_signature"),
    )
    op.create_index("ix_notifications_state_next_try_at", "notifications", ["state", "next_try_at"])
