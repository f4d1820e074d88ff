# SPDX-License-Identifier: GPL-2.0-only
"""Merges: signatures that a person says are one bug.  Nothing is moved, so that a split gives back what was before.

Programs go on to be counted for the signature that they show; lists show the signature that stands for both.  No other
split than taking a merge back: docs/decisions/0011.
"""

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select
from sqlalchemy.orm import aliased

from db.campaigns import one_line_texts
from db.history import find_finding, note
from db.repository import Repository
from db.schema import FindingTable, HistoryEvent, MergeTable
from db.session import StoreError, transaction
from reference_mmu.record import Record


class MergeRow(Record):
    """A merge as stored."""

    signature: str
    target: str
    at: datetime
    who: str
    why: str


class Merges(Repository):
    """The merges in the database behind `engine`.  Every method is one transaction and raises StoreError."""

    def merge(self, signature: str, target: str, who: str, why: str) -> None:
        """Say that a signature is the same bug as `target`, in every campaign."""
        at = self._now()
        with transaction(self._engine, "write") as connection:
            for name in (signature, target):
                find_finding(connection, name, None)
            if signature == target:
                raise StoreError(f"{signature!r} is itself already")
            for name in (signature, target):
                into = merged_into(connection, name)
                if into is not None:
                    raise StoreError(f"{name!r} is merged into {into!r}: split it first, or name that one")
            if connection.execute(select(MergeTable.target).where(MergeTable.target == signature)).first():
                raise StoreError(f"other signatures are merged into {signature!r}: split them first")
            texts = one_line_texts(who=who, why=why)
            connection.execute(insert(MergeTable).values(signature=signature, target=target, at=at, **texts))
            _note_all(connection, signature, HistoryEvent.MERGE, who, f"into {target}: {why}", at)

    def split(self, signature: str, who: str, why: str) -> str:
        """Take a merge back; returns what the signature had been merged into."""
        with transaction(self._engine, "write") as connection:
            target = merged_into(connection, signature)
            if target is None:
                raise StoreError(f"{signature!r} is not merged into another one")
            connection.execute(delete(MergeTable).where(MergeTable.signature == signature))
            _note_all(connection, signature, HistoryEvent.SPLIT, who, f"from {target}: {why}", self._now())
            return target

    def target(self, signature: str) -> str | None:
        """What a signature is merged into, None if it stands for itself."""
        with transaction(self._engine, "read") as connection:
            return merged_into(connection, signature)

    def into(self, target: str) -> list[MergeRow]:
        """What is merged into a signature."""
        query = select(MergeTable).where(MergeTable.target == target).order_by(MergeTable.signature)
        with transaction(self._engine, "read") as connection:
            return [msgspec.convert(dict(row), MergeRow) for row in connection.execute(query).mappings()]


def merged_into(connection: Connection, signature: str) -> str | None:
    """The signature that stands for this one, None if it stands for itself."""
    return connection.execute(select(MergeTable.target).where(MergeTable.signature == signature)).scalar()


def is_shown_by_another() -> ColumnElement[bool]:
    """Condition on a finding: it is merged into one that its campaign has, too."""
    other = aliased(FindingTable)
    return (
        select(MergeTable.signature)
        .join(other, other.signature == MergeTable.target)
        .where(MergeTable.signature == FindingTable.signature, other.campaign_id == FindingTable.campaign_id)
        .exists()
    )


def _note_all(connection: Connection, signature: str, event: HistoryEvent, who: str, why: str, now: datetime) -> None:
    """Note it in the history of the finding, in every campaign that has it."""
    query = select(FindingTable.id).where(FindingTable.signature == signature).order_by(FindingTable.id)
    for finding in connection.execute(query).scalars().all():
        note(connection, finding, event, None, who, why, now)
