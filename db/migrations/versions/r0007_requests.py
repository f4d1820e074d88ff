# SPDX-License-Identifier: GPL-2.0-only
"""The request that a campaign was made for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_INDEX = "ix_fleets_request"


def upgrade() -> None:
    op.add_column("fleets", sa.Column("request", sa.Text(), nullable=True))
    op.create_index(_INDEX, "fleets", ["request"], unique=True)


def downgrade() -> None:
    op.drop_index(_INDEX, "fleets")
    with op.batch_alter_table("fleets") as fleets:
        fleets.drop_column("request")
