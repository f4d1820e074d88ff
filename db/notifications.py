# SPDX-License-Identifier: GPL-2.0-only
"""Notifications: who is told of a bug that nobody knew, at least once and never for nothing.

The row is written in the transaction that stores the finding, so neither exists without the other; one per signature,
whatever campaign finds it again.  Nobody is told of a known hole; if the name goes, as it may once the story is
minimized, the row is written with that.  A try is noted before it is made: a worker that dies in the middle of one
makes it again later, with the same row number, by which the receiver knows it.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select, update

from db.findings import FINDING_FIELDS
from db.merges import merged_into
from db.repository import Repository
from db.schema import SEVERITY, FindingTable, NotificationState, NotificationTable
from db.session import transaction
from db.upsert import upsert
from fuzzer.judge.finding import Finding, Verdict
from reference_mmu.record import Record

TOLD: Final = frozenset({Verdict.REGRESSION, Verdict.UNEXPLAINED})
"""The verdicts that somebody is told of."""
TRIES_MAX: Final = 10
"""Tries before it is given up, which takes about nine hours: 15, 30, 60, … seconds apart, at most two hours."""
_BACKOFF_SECONDS: Final = 15
_BACKOFF_SECONDS_MAX: Final = 7200
_STALE: Final = timedelta(days=1)
_ERROR_CHARS_MAX: Final = 500
_HOUR: Final = timedelta(hours=1)


class Announcement(Record):
    """The JSON that is sent: the first finding of a signature."""

    event: str
    campaign: int
    signature: str
    first_seed: int
    found_at: datetime
    finding: Finding


class Notice(Record):
    """A notification to be sent now; `number` is the same at every try."""

    number: int
    signature: str
    body: bytes


class Waiting(Record):
    """How many notifications wait, and how many were given up."""

    waiting: int
    given_up: int


class Notifications(Repository):
    """The notifications in the database behind `engine`.  Every method is one transaction and raises StoreError."""

    def is_due(self) -> bool:
        """Is there one to be sent now, were it not for the rate?"""
        with transaction(self._engine, "read") as connection:
            query = select(NotificationTable.id).where(_is_due(self._now())).limit(1)
            return connection.execute(query).first() is not None

    def begin(self, hourly_max: int) -> Notice | None:
        """Note a try of the oldest one that is due; None if there is none, or if so many were tried within the hour.

        Whoever asks at the same time waits for this transaction: the rate is that of the whole fleet.
        """
        at = self._now()
        table = NotificationTable
        with transaction(self._engine, "write") as connection:
            due = select(table.id).where(_is_due(at)).order_by(table.id).limit(1).with_for_update()
            number = connection.execute(due).scalar()
            tried = select(func.count()).select_from(table).where(table.last_try_at > at - _HOUR)
            if number is None or connection.execute(tried).scalar_one() >= hourly_max:
                return None
            this = table.id == number
            row = connection.execute(select(table.signature, table.body, table.tries).where(this)).one()
            pause = min(_BACKOFF_SECONDS * 2**row.tries, _BACKOFF_SECONDS_MAX)
            tried_now = {"tries": row.tries + 1, "last_try_at": at, "next_try_at": at + timedelta(seconds=pause)}
            connection.execute(update(table).where(this).values(tried_now))
            return Notice(number, row.signature, row.body.encode())

    def sent(self, number: int) -> None:
        """The receiver has it."""
        self._end(number, NotificationState.SENT, None)

    def failed(self, number: int, error: str) -> None:
        """The receiver does not have it; after TRIES_MAX tries it is given up."""
        self._end(number, None, error)

    def count(self) -> Waiting:
        """How many are not sent."""
        table = NotificationTable
        query = select(table.state, func.count()).group_by(table.state)
        with transaction(self._engine, "read") as connection:
            rows = connection.execute(query).all()
        counts = {str(state): int(count) for state, count in rows}
        waiting, given_up = NotificationState.WAITING.value, NotificationState.GIVEN_UP.value
        return Waiting(counts.get(waiting, 0), counts.get(given_up, 0))

    def _end(self, number: int, state: NotificationState | None, error: str | None) -> None:
        table = NotificationTable
        with transaction(self._engine, "write") as connection:
            tries = connection.execute(select(table.tries).where(table.id == number)).scalar_one()
            if state is None:
                state = NotificationState.GIVEN_UP if tries >= TRIES_MAX else NotificationState.WAITING
            text = error and "".join(char if char.isprintable() else " " for char in error)[:_ERROR_CHARS_MAX]
            changed = update(table).where(table.id == number, table.state == NotificationState.WAITING.value)
            connection.execute(changed.values(state=state.value, error=text))


def note_findings(connection: Connection, findings: Collection[int], now: datetime) -> None:
    """Have somebody told of those of the findings, by id, that are no known holes and whose signature nobody was told
    of.  To be called when they have their names."""
    table = FindingTable
    query = select(table).where(
        table.id.in_(findings), table.severity.in_(SEVERITY[verdict] for verdict in TOLD), table.known.is_(None)
    )
    for row in connection.execute(query.order_by(table.signature)).mappings().all():
        target = merged_into(connection, row["signature"])
        if target is not None and _is_noted(connection, target):
            continue
        finding = msgspec.convert({name: row[name] for name in FINDING_FIELDS}, Finding)
        told = Announcement("first finding", row["campaign_id"], row["signature"], row["first_seed"], now, finding)
        statement = upsert(connection, NotificationTable).values(
            signature=row["signature"],
            body=msgspec.json.encode(told).decode(),
            state=NotificationState.WAITING.value,
            created_at=now,
            next_try_at=now,
            tries=0,
        )
        connection.execute(statement.on_conflict_do_nothing(index_elements=["signature"]))


def _is_noted(connection: Connection, signature: str) -> bool:
    query = select(NotificationTable.id).where(NotificationTable.signature == signature)
    return connection.execute(query).first() is not None


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Condition on a notification: it is to be sent now. What became old while notifications were off is not: nobody
    wants a flood of it when they are on again. What was tried is not old."""
    table = NotificationTable
    young = (table.created_at > now - _STALE) | (table.tries > 0)
    return (table.state == NotificationState.WAITING.value) & (table.next_try_at <= now) & young
