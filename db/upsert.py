# SPDX-License-Identifier: GPL-2.0-only
"""An insert that says what happens to a row that is there already, in the words of either database."""

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from db.schema import Base


def upsert(connection: Connection, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say `on_conflict_…`: the same words in both dialects, but not part of their common base.

    Its outcome is the row count, which SQLAlchemy forgets unless told: RETURNING is in SQLite since 3.35 only, and
    Enterprise Linux 9 ships 3.34.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).execution_options(preserve_rowcount=True)
