# SPDX-License-Identifier: GPL-2.0-only
"""Holes: which known hole a finding is.  That is asked when a reproducer is stored, and stands at the finding then.

Another version may list other holes, so it is asked again when a reproducer is run again and when tables have moved.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from db.schema import KNOWN_RANK, SEVERITY, FindingTable, ReproducerTable
from fuzzer.known_holes import NAMEABLE, hole_of_file

_NAMEABLE: Final = [SEVERITY[verdict] for verdict in NAMEABLE]
# A reproducer may have a megabyte.
_AT_ONCE: Final = 50


def name_holes(connection: Connection, findings: Sequence[int]) -> None:
    """Name findings, by id, by the reproducers that are stored for them.

    The story of an unminimized one may have more than the hole needs: the name may go when it is minimized.  One that
    replays to a milder verdict than the finding's says nothing of it.
    """
    for first in range(0, len(findings), _AT_ONCE):
        _name_some(connection, findings[first : first + _AT_ONCE])


def name_all(connection: Connection) -> None:
    """Name every finding that may have a name."""
    query = select(FindingTable.id).where(FindingTable.severity.in_(_NAMEABLE)).order_by(FindingTable.id)
    name_holes(connection, connection.execute(query).scalars().all())


def _name_some(connection: Connection, findings: Sequence[int]) -> None:
    table, story = FindingTable, ReproducerTable
    query = (
        select(table.id, table.severity, table.known, story.body, story.minimized)
        .outerjoin(story, (story.finding_id == table.id) & (story.severity == table.severity))
        .where(table.id.in_(findings), table.severity.in_(_NAMEABLE))
        .order_by(table.id)
    )
    renamed = []
    for finding, severity, known, body, minimized in connection.execute(query):
        hole = (hole_of_file(body, smallest=minimized) if body else "") or None
        if hole != known:
            renamed.append({"finding": finding, "hole": hole, "place": KNOWN_RANK if hole else severity})
    if renamed:
        changed = update(table).where(table.id == bindparam("finding"))
        connection.execute(changed.values(known=bindparam("hole"), rank=bindparam("place")), renamed)
