# SPDX-License-Identifier: GPL-2.0-only
"""What a batch tells while it runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from db.batches import store_batch
from db.session import open_database
from db.store import Store
from fuzzer.judge.finding import BatchResult
from fuzzer.judge.seen import Trace
from fuzzer.sighting import Sighting
from tests.db.stored import NIGHTLY
from workers.glimpses import GLIMPSE_SECONDS, Glimpses

FLUSHES = Trace("divergence", "fewer-flushes", ("age", "old", "tdp", "4"))
STALE = Trace("violation", "stale-read", ("new", "old", "tdp"))


class Clock:
    """Seconds that pass when they are told to."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'glimpses.db'}")
    yield engine
    engine.dispose()


def seen(store: Store) -> list[tuple[str, int, int]]:
    """What lists show: effect or invariant, programs, first seed."""
    return sorted((row.trace.what, row.count, row.first_seed) for row in store.unjudged())


def test_told_when_it_is_time_and_counted_with_the_batch(engine: Engine) -> None:
    store, clock = Store(engine), Clock()
    campaign = store.create_campaign(NIGHTLY)
    glimpses = Glimpses(engine, campaign, clock)
    glimpses.note(7, [FLUSHES])
    assert seen(store) == [], "a compiled batch ends before it is time"
    clock.seconds += GLIMPSE_SECONDS
    glimpses.note(8, [STALE])
    assert seen(store) == [("fewer-flushes", 0, 7), ("stale-read", 0, 8)]
    both = (Sighting(FLUSHES, (7, 9)), Sighting(STALE, (8,)))
    assert store_batch(engine, BatchResult(campaign, 0, 7, 3, 100, 0.1, 7, ()), both)
    assert seen(store) == [("fewer-flushes", 2, 7), ("stale-read", 1, 8)]


def test_what_is_known_stays_as_it_is(engine: Engine) -> None:
    store, clock = Store(engine), Clock()
    campaign = store.create_campaign(NIGHTLY)
    store_batch(engine, BatchResult(campaign, 0, 7, 3, 100, 0.1, 7, ()), (Sighting(FLUSHES, (7, 9)),))
    glimpses = Glimpses(engine, campaign, clock)
    clock.seconds += GLIMPSE_SECONDS
    glimpses.note(5, [FLUSHES])
    assert seen(store) == [("fewer-flushes", 2, 7)]


def test_a_database_that_is_gone_costs_no_batch(engine: Engine, tmp_path: Path) -> None:
    campaign, clock = Store(engine).create_campaign(NIGHTLY), Clock()
    glimpses = Glimpses(engine, campaign, clock)
    engine.dispose()
    (tmp_path / "glimpses.db").unlink()
    (tmp_path / "glimpses.db").mkdir()
    clock.seconds += GLIMPSE_SECONDS
    with capture_logs() as logs:
        glimpses.note(7, [FLUSHES])
    assert [entry["event"] for entry in logs] == ["glimpses not stored, they come with the batch"]
