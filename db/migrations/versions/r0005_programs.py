# SPDX-License-Identifier: GPL-2.0-only
"""Uploads of bare programs, beside reproducers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("replays", sa.Column("kind", sa.Text(), nullable=False, server_default="reproducer"))


def downgrade() -> None:
    # Revision 0004 would take them for reproducers.
    op.execute("DELETE FROM replays WHERE kind <> 'reproducer'")
    op.drop_column("replays", "kind")
