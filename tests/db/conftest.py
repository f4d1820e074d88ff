# SPDX-License-Identifier: GPL-2.0-only
"""A new database in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.session import open_database
from db.store import Store
from tests.db.stored import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def clocked_store(file_engine: Engine, clock: Clock) -> Store:
    return Store(file_engine, clock)
