# SPDX-License-Identifier: GPL-2.0-only
"""Rechecks: which reproducers a model version has not run yet, and what came out.

A finding is due when its campaign was searched with another model version and this one has not run its reproducer.
Each version runs it once, so that a fleet whose machines are updated one after the other does not go back and forth.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, Select, and_, or_, select

from db.history import find_finding, is_called_invalid, note
from db.holes import name_holes
from db.notifications import note_findings
from db.schema import CampaignTable, FindingState, FindingTable, HistoryEvent, RecheckTable, ReproducerTable
from db.session import transaction, utc_now
from db.upsert import upsert
from reference_mmu.record import Record

ASKS_MAX: Final = 3
"""A reproducer that workers were asked so often to run, and of which nobody told what came out, is left to people."""
_PATIENCE: Final = timedelta(minutes=15)


class Due(Record):
    """A reproducer to run again."""

    finding: int
    """Id of the finding's row, which names it in messages."""
    campaign: int
    signature: str
    state: FindingState


class Seen(Record):
    """What running a reproducer again came to: the state that it speaks for, None if it was not run."""

    state: FindingState | None
    why: str


class Moved(Record):
    """From which state to which a recheck moved a finding, the same if it did not."""

    before: FindingState
    after: FindingState


class Rechecks:
    """The rechecks in the database behind `engine`, by one model version.  Every method is one transaction and raises
    StoreError."""

    def __init__(self, engine: Engine, model_version: str, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._model = model_version
        self._now = now

    def due(self) -> list[Due]:
        """All reproducers that this version has not run."""
        return self._read(self._due())

    def all(self, signatures: tuple[str, ...] = ()) -> list[Due]:
        """All reproducers, or those of some signatures."""
        query = _findings()
        return self._read(query.where(FindingTable.signature.in_(signatures)) if signatures else query)

    def claim(self, limit: int) -> list[int]:
        """Findings whose reproducers are to be run now, at most `limit`.

        Who asks next gets others, until some time has passed and nobody has stored what came out.
        """
        at = self._now()
        query = self._due().where(
            or_(
                RecheckTable.finding_id.is_(None),
                and_(RecheckTable.asked_at < at - _PATIENCE, RecheckTable.asks < ASKS_MAX),
            ),
        )
        with transaction(self._engine, "read") as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        with transaction(self._engine, "write") as connection:
            found = [row.id for row in connection.execute(query.limit(limit))]
            return [finding for finding in found if self._claim(connection, finding, at)]

    def body(self, finding: int) -> bytes | None:
        """The reproducer of a finding, None if there is none any more."""
        with transaction(self._engine, "read") as connection:
            query = select(ReproducerTable.body).where(ReproducerTable.finding_id == finding)
            return connection.execute(query).scalar()

    def store(self, finding: int, seen: Seen, who: str) -> Moved | None:
        """Note what came out, name and move the finding; None if it is gone.  Who lists a hole no more than others
        tells of an open finding that was known as it."""
        at = self._now()
        with transaction(self._engine, "write") as connection:
            query = select(FindingTable.state).where(FindingTable.id == finding).with_for_update()
            row = connection.execute(query).first()
            if row is None:
                return None
            before = FindingState(row.state)
            fresh = self._said_before(connection, finding) != seen.why
            values = {"finding_id": finding, "model_version": self._model, "asked_at": at, "asks": 1}
            done = {"checked_at": at, "why": seen.why}
            statement = upsert(connection, RecheckTable).values(**values, **done)
            connection.execute(
                statement.on_conflict_do_update(index_elements=["finding_id", "model_version"], set_=done)
            )
            after = seen.state or before
            if is_called_invalid(connection, finding):
                after = before
            if after is not before or (seen.state is None and fresh):
                why = f"model {self._model}: {seen.why}"
                note(connection, finding, HistoryEvent.RECHECK, after, who, why, at)
            name_holes(connection, [finding])
            if after is FindingState.OPEN:
                note_findings(connection, [finding], at)
            return Moved(before, after)

    def find(self, signature: str) -> None:
        """Raise NoFinding if no campaign has that signature."""
        with transaction(self._engine, "read") as connection:
            find_finding(connection, signature, None)

    def _claim(self, connection: Connection, finding: int, at: datetime) -> bool:
        statement = upsert(connection, RecheckTable).values(
            finding_id=finding, model_version=self._model, asked_at=at, asks=1
        )
        again = statement.on_conflict_do_update(
            index_elements=["finding_id", "model_version"],
            set_={"asked_at": at, "asks": RecheckTable.asks + 1},
            where=RecheckTable.asked_at < at - _PATIENCE,
        )
        return connection.execute(again).rowcount > 0

    def _said_before(self, connection: Connection, finding: int) -> str | None:
        this = (RecheckTable.finding_id == finding) & (RecheckTable.model_version == self._model)
        return connection.execute(select(RecheckTable.why).where(this)).scalar()

    def _due(self) -> Select[int, int, str, str]:
        mine = (RecheckTable.finding_id == FindingTable.id) & (RecheckTable.model_version == self._model)
        return (
            _findings()
            .outerjoin(RecheckTable, mine)
            .where(CampaignTable.model_version != self._model, RecheckTable.checked_at.is_(None))
        )

    def _read(self, query: Select[int, int, str, str]) -> list[Due]:
        with transaction(self._engine, "read") as connection:
            rows = connection.execute(query.order_by(FindingTable.id)).all()
        return [Due(finding, campaign, name, FindingState(state)) for finding, campaign, name, state in rows]


def _findings() -> Select[int, int, str, str]:
    table = FindingTable
    return (
        select(table.id, table.campaign_id, table.signature, table.state)
        .join(ReproducerTable, ReproducerTable.finding_id == table.id)
        .join(CampaignTable, CampaignTable.id == table.campaign_id)
    )
