# SPDX-License-Identifier: GPL-2.0-only
"""Columns, constraints and indexes as revisions declare them, by the names that the schema gives them.

What a function here makes must never change, since a revision must go on meaning what it meant.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
TEXT = sa.Text()


def columns(kind: Any, *names: str) -> list[sa.Column[Any]]:
    """Columns of one type, none of which may be null."""
    return [sa.Column(name, kind, nullable=False) for name in names]


def nullable(kind: Any, *names: str) -> list[sa.Column[Any]]:
    """Columns of one type that may be null."""
    return [sa.Column(name, kind, nullable=True) for name in names]


def key(table: str, *names: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*names, name=f"pk_{table}")


def unique(table: str, *names: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*names, name="_".join(["uq", table, *names]))


def reference(table: str, name: str, target: str) -> sa.ForeignKeyConstraint:
    """The id of a row of `target`, with which the row of `table` goes."""
    return sa.ForeignKeyConstraint([name], [f"{target}.id"], f"fk_{table}_{name}", ondelete="CASCADE")


def create_index(table: str, *names: str) -> None:
    op.create_index("_".join(["ix", table, *names]), table, list(names))
