# SPDX-License-Identifier: GPL-2.0-only
"""Forward and back, without opening the database."""

import sqlite3
from pathlib import Path

import pytest

from db.history import Histories
from db.revisions import Revisions, back, forward, revisions
from db.schema import FindingState
from db.session import StoreError, open_database
from db.store import Store
from tests.db.stored import NAME, VIOLATION, new_campaign


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mmufuzz.db'}"


def test_forward_and_back_step_by_step(url: str) -> None:
    at = revisions(url)
    assert at.database is None
    assert not at.is_newest()
    assert forward(url) == at
    assert revisions(url).is_newest()
    assert [back(url).database for _ in at.known[1:]] == list(at.known[-2::-1])
    with pytest.raises(StoreError, match="0001 is the first revision"):
        back(url)
    forward(url)
    assert back(url, at.known[0]) == Revisions(at.known[0], at.known)


def test_findings_survive_the_way_back(url: str) -> None:
    engine = open_database(url)
    new_campaign(Store(engine), VIOLATION)
    Histories(engine).move(NAME, FindingState.GONE, "eve", "a state that older versions do not know")
    engine.dispose()
    back(url, "0002")
    forward(url)
    engine = open_database(url)
    row = Store(engine).finding(NAME)
    assert row is not None
    assert row.state is FindingState.OPEN
    assert row.reproducer is not None
    assert Histories(engine).of(NAME) == []
    engine.dispose()


def test_refuses(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no tables"):
        back(url)
    forward(url)
    with pytest.raises(StoreError, match="9999 is no revision before"):
        back(url, "9999")
    with sqlite3.connect(tmp_path / "mmufuzz.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert not revisions(url).is_known()
    for move in (forward, back):
        with pytest.raises(StoreError, match="written by a newer version"):
            move(url)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="belongs to another program"):
        forward(f"sqlite:///{tmp_path / 'other.db'}")
