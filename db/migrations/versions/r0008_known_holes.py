# SPDX-License-Identifier: GPL-2.0-only
"""The known hole that a finding is, and where it stands in lists."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXES = {
    "ix_findings_campaign_id_rank_last_seen": ["campaign_id", "rank", "last_seen"],
    "ix_findings_rank_last_seen": ["rank", "last_seen"],
}


def upgrade() -> None:
    op.add_column("findings", sa.Column("known", sa.Text(), nullable=True))
    op.add_column("findings", sa.Column("rank", _INT, nullable=False, server_default="0"))
    # Whoever moves the tables then names the findings, see move_forward() in db.session.
    op.execute("UPDATE findings SET rank = severity")
    for name, columns in _INDEXES.items():
        op.create_index(name, "findings", columns)


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "findings")
    with op.batch_alter_table("findings") as findings:
        findings.drop_column("rank")
        findings.drop_column("known")
