# SPDX-License-Identifier: GPL-2.0-only
"""Strategies and limits of a campaign; minimize tasks of several judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LEADS = "leader_id = id AND finding_id IS NULL"


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("strategies", sa.JSON(), nullable=True))
    op.add_column("fleets", sa.Column("task_seconds", _INT, nullable=True))
    op.add_column("fleets", sa.Column("memory_mib", _INT, nullable=True))
    # Each had a task of its own, of its own number.
    op.execute(f"UPDATE judgements SET task = number WHERE {_LEADS}")


def downgrade() -> None:
    op.execute(
        "INSERT INTO tasks (campaign_id, kind, number, state, starts) "
        f"SELECT campaign_id, 'minimize', number, 'open', 0 FROM judgements WHERE {_LEADS} AND task <> number"
    )
    # By copying the table where SQLite is older than 3.35 and knows no other way.
    with op.batch_alter_table("fleets") as fleets:
        fleets.drop_column("memory_mib")
        fleets.drop_column("task_seconds")
    with op.batch_alter_table("campaigns") as campaigns:
        campaigns.drop_column("strategies")
