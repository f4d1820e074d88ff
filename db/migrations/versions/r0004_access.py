# SPDX-License-Identifier: GPL-2.0-only
"""Tokens of the dashboard, and the reproducers uploaded to it."""

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import INTEGER, TEXT, TIME, columns, create_index, key, nullable, unique

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "tokens",
        *columns(INTEGER, "id"),
        *columns(TEXT, "name", "digest", "level"),
        *columns(TIME, "created_at"),
        *nullable(TIME, "revoked_at"),
        key("tokens", "id"),
        unique("tokens", "name"),
        unique("tokens", "digest"),
    )
    op.create_table(
        "replays",
        *columns(TEXT, "id"),
        *columns(sa.LargeBinary(), "body"),
        *columns(TEXT, "state", "uploaded_by"),
        *columns(TIME, "created_at"),
        *nullable(TIME, "finished_at"),
        *nullable(TEXT, "error"),
        *nullable(sa.LargeBinary(), "trace"),
        key("replays", "id"),
    )
    create_index("replays", "created_at")


def downgrade() -> None:
    op.drop_table("replays")
    op.drop_table("tokens")
