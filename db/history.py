# SPDX-License-Identifier: GPL-2.0-only
"""The history of a finding: who moved it from which state to which, when and why; comments, rechecks and merges too.

A recheck moves a finding by what it sees, a person by what he knows.  A finding that a person called invalid stays so
whatever a recheck sees: it said nothing about whether the finding shows, but about what it means.
"""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, insert, select, update

from db.campaigns import one_line_texts
from db.repository import Repository
from db.schema import FindingState, FindingTable, HistoryEvent, HistoryTable, RecheckTable
from db.session import StoreError, transaction
from reference_mmu.record import Record


class NoFinding(StoreError):
    """There is no finding of that signature."""


class HistoryRow(Record):
    """One thing that happened to a finding."""

    at: datetime
    who: str
    event: HistoryEvent
    from_state: FindingState
    to_state: FindingState
    why: str


class RecheckRow(Record):
    """What another model version than the one that found a finding made of its reproducer; `why` says what came out,
    None as long as nobody has told."""

    model_version: str
    asked_at: datetime
    checked_at: datetime | None
    why: str | None


class Histories(Repository):
    """What people say about findings, in the database behind `engine`; of a signature that several campaigns have, the
    newest counts unless one is named.  Every method is one transaction and raises StoreError."""

    def comment(self, signature: str, who: str, text: str, campaign: int | None = None) -> None:
        """Say something about a finding."""
        self._note(signature, campaign, HistoryEvent.COMMENT, None, who, text)

    def move(self, signature: str, state: FindingState, who: str, why: str, campaign: int | None = None) -> None:
        """Say that a finding is in another state now."""
        self._note(signature, campaign, HistoryEvent.STATE, state, who, why)

    def of(self, signature: str, campaign: int | None = None) -> list[HistoryRow]:
        """What happened to a finding, the oldest first."""
        with transaction(self._engine, "read") as connection:
            finding = find_finding(connection, signature, campaign)
            query = select(HistoryTable).where(HistoryTable.finding_id == finding).order_by(HistoryTable.id)
            return [msgspec.convert(dict(row), HistoryRow) for row in connection.execute(query).mappings()]

    def rechecks(self, signature: str, campaign: int | None = None) -> list[RecheckRow]:
        """Which model versions were asked to run its reproducer again, the last first."""
        table = RecheckTable
        columns = (table.model_version, table.asked_at, table.checked_at, table.why)
        with transaction(self._engine, "read") as connection:
            finding = find_finding(connection, signature, campaign)
            query = select(*columns).where(table.finding_id == finding)
            query = query.order_by(table.asked_at.desc(), table.model_version)
            return [msgspec.convert(dict(row), RecheckRow) for row in connection.execute(query).mappings()]

    def _note(
        self, signature: str, campaign: int | None, event: HistoryEvent, state: FindingState | None, who: str, why: str
    ) -> None:
        with transaction(self._engine, "write") as connection:
            note(connection, find_finding(connection, signature, campaign), event, state, who, why, self._now())


def find_finding(connection: Connection, signature: str, campaign: int | None) -> int:
    """The id of a finding.  Raises NoFinding."""
    query = select(FindingTable.id).where(FindingTable.signature == signature)
    if campaign is not None:
        query = query.where(FindingTable.campaign_id == campaign)
    finding = connection.execute(query.order_by(FindingTable.campaign_id.desc()).limit(1)).scalar()
    if finding is None:
        raise NoFinding(f"no finding {signature!r}" + ("" if campaign is None else f" in campaign {campaign}"))
    return finding


def note(
    connection: Connection,
    finding: int,
    event: HistoryEvent,
    state: FindingState | None,
    who: str,
    why: str,
    now: datetime,
) -> None:
    """Add to the history of a finding, and move it to `state` unless that is None.

    Raises StoreError for texts that are not one line.
    """
    query = select(FindingTable.state).where(FindingTable.id == finding).with_for_update()
    before = connection.execute(query).scalar_one()
    after = before if state is None else state.value
    values = one_line_texts(who=who, why=why)
    values |= {"event": event.value, "from_state": before, "to_state": after}
    connection.execute(insert(HistoryTable).values(finding_id=finding, at=now, **values))
    if after != before:
        connection.execute(update(FindingTable).where(FindingTable.id == finding).values(state=after))


def is_called_invalid(connection: Connection, finding: int) -> bool:
    """Did a person, who spoke last about its state, say that it is no finding?"""
    query = (
        select(HistoryTable.event, HistoryTable.to_state)
        .where(HistoryTable.finding_id == finding, HistoryTable.from_state != HistoryTable.to_state)
        .order_by(HistoryTable.id.desc())
        .limit(1)
    )
    last = connection.execute(query).first()
    return last is not None and tuple(last) == (HistoryEvent.STATE, FindingState.INVALID)
