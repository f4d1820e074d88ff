# SPDX-License-Identifier: GPL-2.0-only
"""Uploaded reproducers and programs, and what running them gave.

The newest are kept, enough to look at, not an archive.
"""

import hashlib
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Select, delete, func, insert, select, update

from db.repository import Repository
from db.schema import ReplayState, ReplayTable, UploadKind
from db.session import StoreError, transaction
from reference_mmu.record import Record

KEPT_MAX: Final = 500
WAITING_MAX: Final = 32
_RECEIPT_DIGITS: Final = 32


class TooManyWaiting(StoreError):
    """More uploads wait than can be replayed soon."""


class ReplayRow(Record):
    """An upload without its content."""

    id: str
    state: ReplayState
    uploaded_by: str
    created_at: datetime
    finished_at: datetime | None
    error: str | None
    kind: UploadKind = UploadKind.REPRODUCER


class Replays(Repository):
    """The uploads in the database behind `engine`.  Every method is one transaction and raises StoreError."""

    def submit(self, body: bytes, uploaded_by: str, kind: UploadKind = UploadKind.REPRODUCER) -> ReplayRow:
        """Store an upload that waits to be run.  One that is stored already stays as it is."""
        receipt = hashlib.sha256(body).hexdigest()[:_RECEIPT_DIGITS]
        with transaction(self._engine, "write") as connection:
            stored = connection.execute(_select().where(ReplayTable.id == receipt)).mappings().first()
            if stored is not None:
                return msgspec.convert(dict(stored), ReplayRow)
            waiting = select(func.count()).where(ReplayTable.state == ReplayState.WAITING.value)
            if connection.execute(waiting).scalar_one() >= WAITING_MAX:
                raise TooManyWaiting(f"{WAITING_MAX} uploads are waiting; try again in a minute")
            row = ReplayRow(receipt, ReplayState.WAITING, uploaded_by, self._now(), None, None, kind)
            connection.execute(insert(ReplayTable).values(**msgspec.structs.asdict(row), body=body))
            newest = select(ReplayTable.id).order_by(ReplayTable.created_at.desc()).limit(KEPT_MAX)
            connection.execute(delete(ReplayTable).where(ReplayTable.id.not_in(newest)))
            return row

    def finish(self, receipt: str, result: bytes | None, error: str | None) -> None:
        """Store what came of it: a trace or report, or why there is none."""
        state = ReplayState.FAILED if result is None else ReplayState.DONE
        values = {"state": state.value, "finished_at": self._now(), "trace": result, "error": error}
        with transaction(self._engine, "write") as connection:
            connection.execute(update(ReplayTable).where(ReplayTable.id == receipt).values(values))

    def get(self, receipt: str) -> ReplayRow | None:
        with transaction(self._engine, "read") as connection:
            row = connection.execute(_select().where(ReplayTable.id == receipt)).mappings().first()
            return None if row is None else msgspec.convert(dict(row), ReplayRow)

    def trace(self, receipt: str) -> bytes | None:
        """The encoded trace of a reproducer that has been replayed."""
        return self._result(receipt, UploadKind.REPRODUCER)

    def report(self, receipt: str) -> bytes | None:
        """What the search with a program came to, encoded, once it is done."""
        return self._result(receipt, UploadKind.PROGRAM)

    def body(self, receipt: str) -> bytes | None:
        """The uploaded file."""
        with transaction(self._engine, "read") as connection:
            return connection.execute(select(ReplayTable.body).where(ReplayTable.id == receipt)).scalars().first()

    def waiting(self) -> list[str]:
        """Receipts of what is still to be replayed, oldest first."""
        query = select(ReplayTable.id).where(ReplayTable.state == ReplayState.WAITING.value)
        with transaction(self._engine, "read") as connection:
            return list(connection.execute(query.order_by(ReplayTable.created_at)).scalars())

    def _result(self, receipt: str, kind: UploadKind) -> bytes | None:
        query = select(ReplayTable.trace).where(ReplayTable.id == receipt, ReplayTable.kind == kind.value)
        with transaction(self._engine, "read") as connection:
            return connection.execute(query).scalars().first()


def _select() -> Select[*tuple[Any, ...]]:
    return select(*(getattr(ReplayTable, name) for name in ReplayRow.__struct_fields__))
