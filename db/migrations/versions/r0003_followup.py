# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a finding: history, rechecks, merges, notifications."""

from alembic import op

from db.migrations.columns import INTEGER, TEXT, TIME, columns, create_index, key, nullable, reference, unique

revision = "0003"
down_revision = "0002"


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


def _create_history() -> None:
    op.create_table(
        "history",
        *columns(INTEGER, "id", "finding_id"),
        *columns(TIME, "at"),
        *columns(TEXT, "who", "event", "from_state", "to_state", "why"),
        key("history", "id"),
        reference("history", "finding_id", "findings"),
    )
    create_index("history", "finding_id")


def _create_rechecks() -> None:
    op.create_table(
        "rechecks",
        *columns(INTEGER, "finding_id"),
        *columns(TEXT, "model_version"),
        *columns(TIME, "asked_at"),
        *columns(INTEGER, "asks"),
        *nullable(TIME, "checked_at"),
        *nullable(TEXT, "why"),
        key("rechecks", "finding_id", "model_version"),
        reference("rechecks", "finding_id", "findings"),
    )


def _create_merges() -> None:
    op.create_table(
        "merges",
        *columns(TEXT, "signature", "target"),
        *columns(TIME, "at"),
        *columns(TEXT, "who", "why"),
        key("merges", "signature"),
    )
    create_index("merges", "target")


def _create_notifications() -> None:
    op.create_table(
        "notifications",
        *columns(INTEGER, "id"),
        *columns(TEXT, "signature", "body", "state"),
        *columns(TIME, "created_at", "next_try_at"),
        *nullable(TIME, "last_try_at"),
        *columns(INTEGER, "tries"),
        *nullable(TEXT, "error"),
        key("notifications", "id"),
        unique("notifications", "signature"),
    )
    create_index("notifications", "state", "next_try_at")
