# SPDX-License-Identifier: GPL-2.0-only
"""Findings as a list: filtered, sorted, one page after the other.

A page begins behind the last row of the one before, named by what it is sorted by, so it costs the same however far
down it is, and what comes in meanwhile neither repeats nor hides a row.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Engine, Select, Text, cast, func, literal, or_, select, tuple_
from sqlalchemy.sql.elements import SQLCoreOperations

from db.merges import is_shown_by_another
from db.schema import SEVERITY, FindingState, FindingTable, ReproducerTable
from db.session import StoreError, transaction
from fuzzer.judge.finding import Verdict
from reference_mmu.record import Record

PAGE_MAX: Final = 200
ANY_HOLE: Final = "yes"
NO_HOLE: Final = "no"
_TEXT_CHARS_MAX: Final = 200

Sort = Literal["severity", "last-seen", "first-seen", "count", "what"]
_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_ORDER: Final[dict[Sort, tuple[Any, ...]]] = {
    "severity": (FindingTable.rank, FindingTable.last_seen, FindingTable.id),
    "last-seen": (FindingTable.last_seen, FindingTable.id),
    "first-seen": (FindingTable.first_seen, FindingTable.id),
    "count": (FindingTable.count, FindingTable.id),
    "what": (FindingTable.what, FindingTable.id),
}
# The types of the values above, to refuse a forged cursor before the database sees it.
_KEYS: Final[dict[Sort, Any]] = {
    "severity": tuple[_Int, datetime, _Int],
    "last-seen": tuple[datetime, _Int],
    "first-seen": tuple[datetime, _Int],
    "count": tuple[_Int, _Int],
    "what": tuple[str, _Int],
}
_ASCENDING: Final[frozenset[Sort]] = frozenset({"what"})


class BadCursor(StoreError):
    """Not a cursor of this list in this order."""


class Wanted(Record):
    """Which findings; None asks for all.  `what` is an invariant or effect, `text` a part of signature or story;
    `known` is the id of a known hole, or ANY_HOLE, or NO_HOLE."""

    verdict: Verdict | None = None
    patch: str | None = None
    what: str | None = None
    state: FindingState | None = None
    campaign: int | None = None
    since: datetime | None = None
    """Only findings that were seen at that time or later."""
    text: str | None = None
    known: str | None = None


class ListedRow(Record):
    """One line of the list; sizes are None without a minimized reproducer."""

    id: int
    campaign_id: int
    signature: str
    kind: str
    what: str
    side: str
    patches: tuple[str, ...]
    verdict: Verdict
    state: FindingState
    story: str
    severity: int
    count: int
    first_seen: datetime
    last_seen: datetime
    operations: int | None
    preemptions: int | None
    known: str
    """The known hole that it is, "" if it is none."""
    rank: int
    """What the list is sorted by: the severity, of a known hole less than that of a baseline."""


class FindingsPage(Record):
    """Some rows, how many there are in all, and the cursor of the next page, None on the last."""

    rows: tuple[ListedRow, ...]
    total: int
    cursor: str | None


class Number(Record):
    """How many findings a name has, and how many of these are known holes."""

    name: str
    findings: int
    known: int


class Listing:
    """The findings in the database behind `engine`, of those that are merged the one that stands for
    them.  Every method is one transaction and raises StoreError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, wanted: Wanted, sort: Sort, limit: int, cursor: str | None) -> FindingsPage:
        """At most `limit` findings behind `cursor`.  Raises BadCursor."""
        order = _ORDER[sort]
        query = _narrowed(_select_rows(), wanted)
        if cursor is not None:
            key = tuple_(
                *(literal(value, column.type) for column, value in zip(order, _decode(cursor, sort), strict=True))
            )
            query = query.where(tuple_(*order) > key if sort in _ASCENDING else tuple_(*order) < key)
        query = query.order_by(*(column if sort in _ASCENDING else column.desc() for column in order))
        count = _narrowed(select(func.count()).select_from(FindingTable), wanted)
        limit = min(limit, PAGE_MAX)
        with transaction(self._engine, "read") as connection:
            found = connection.execute(query.limit(limit + 1)).mappings().all()
            total = connection.execute(count).scalar_one()
        rows = tuple(msgspec.convert(dict(row), ListedRow) for row in found[:limit])
        last = _encode(tuple(getattr(rows[-1], column.key) for column in order)) if len(found) > limit else None
        return FindingsPage(rows, total, last)

    def by_what(self) -> list[Number]:
        """Every invariant and effect that was found, by name."""
        return [Number(*row) for row in self._count_by(FindingTable.what)]

    def by_verdict(self) -> list[Number]:
        """Every verdict, the most severe first, also those that no finding has."""
        rows = self._count_by(FindingTable.severity)
        return list(numbers_of({severity: (findings, known) for severity, findings, known in rows}))

    def by_hole(self) -> list[Number]:
        """Every known hole that was found, by its id; what is none comes first, as ""."""
        return sorted((Number(hole or "", *both) for hole, *both in self._count_by(FindingTable.known)), key=_by_name)

    def by_patch(self) -> list[Number]:
        """How many findings are attributed to each patch, alone or with others; those that have any."""
        numbers: dict[str, tuple[int, int]] = {}
        for encoded, findings, known in self._count_by(cast(FindingTable.patches, Text)):
            for patch in msgspec.json.decode(encoded, type=list[str]):
                before = numbers.get(patch, (0, 0))
                numbers[patch] = before[0] + findings, before[1] + known
        return [Number(name, *both) for name, both in sorted(numbers.items())]

    def _count_by(self, column: SQLCoreOperations[Any]) -> list[tuple[Any, int, int]]:
        """How many findings there are with each value of a column, and how many of these are known holes."""
        query = select(column, func.count(), func.count(FindingTable.known)).where(~is_shown_by_another())
        with transaction(self._engine, "read") as connection:
            return [tuple(row) for row in connection.execute(query.group_by(column).order_by(column))]


def _by_name(number: Number) -> str:
    return number.name


def numbers_of(found: Mapping[int, tuple[int, int]]) -> tuple[Number, ...]:
    """How many findings each verdict has, the most severe first, from the numbers by severity."""
    return tuple(Number(str(verdict), *found.get(SEVERITY[verdict], (0, 0))) for verdict in reversed(SEVERITY))


def _select_rows() -> Select[*tuple[Any, ...]]:
    sizes = (ReproducerTable.operations, ReproducerTable.preemptions)
    others = ("operations", "preemptions", "known")
    columns = (getattr(FindingTable, name) for name in ListedRow.__struct_fields__ if name not in others)
    known = func.coalesce(FindingTable.known, "").label("known")
    return select(*columns, known, *sizes).select_from(FindingTable).outerjoin(ReproducerTable)


def _narrowed(query: Select[*tuple[Any, ...]], wanted: Wanted) -> Select[*tuple[Any, ...]]:
    query = query.where(~is_shown_by_another())
    if wanted.verdict is not None:
        query = query.where(FindingTable.severity == SEVERITY[wanted.verdict])
    if wanted.patch is not None:
        # Names of patches need no escape in JSON, and the quotes keep one from matching a longer one.
        query = query.where(cast(FindingTable.patches, Text).contains(f'"{wanted.patch}"', autoescape=True))
    if wanted.what is not None:
        query = query.where(FindingTable.what == wanted.what)
    if wanted.state is not None:
        query = query.where(FindingTable.state == wanted.state.value)
    if wanted.known is not None:
        query = query.where(_is_hole(wanted.known))
    if wanted.campaign is not None:
        query = query.where(FindingTable.campaign_id == wanted.campaign)
    if wanted.since is not None:
        query = query.where(FindingTable.last_seen >= wanted.since)
    if wanted.text:
        if len(wanted.text) > _TEXT_CHARS_MAX:
            raise StoreError(f"search for at most {_TEXT_CHARS_MAX} characters")
        texts = (FindingTable.signature, FindingTable.story)
        query = query.where(or_(*(text.icontains(wanted.text, autoescape=True) for text in texts)))
    return query


def _is_hole(known: str) -> ColumnElement[bool]:
    if known == ANY_HOLE:
        return FindingTable.known.is_not(None)
    return FindingTable.known.is_(None) if known == NO_HOLE else FindingTable.known == known


def _encode(key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _decode(cursor: str, sort: Sort) -> tuple[Any, ...]:
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key: tuple[Any, ...] = msgspec.json.decode(data, type=_KEYS[sort])
    except (ValueError, msgspec.DecodeError) as error:
        raise BadCursor("not a cursor of this list; begin at its first page") from error
    if any(isinstance(value, datetime) and value.tzinfo is None for value in key):
        raise BadCursor("not a cursor of this list; begin at its first page")
    return key
