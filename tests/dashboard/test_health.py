# SPDX-License-Identifier: GPL-2.0-only
"""Is the search running, how fast, does it still find anything?"""

from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

import msgspec

from dashboard.health import Health, health
from db.campaigns import CampaignRow
from db.pace import Pace
from db.pace import pace as read_pace
from db.schema import CampaignState
from db.session import open_database
from db.store import Store
from fuzzer.judge.finding import BatchResult
from tests.db.stored import NIGHTLY

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CAMPAIGN = CampaignRow(**msgspec.structs.asdict(NIGHTLY), id=1, created_at=NOW, state=CampaignState.RUNNING)


def pace(*coverage: int, every: float = 10.0, last: datetime = NOW) -> Pace:
    """Batches at regular times, stored in a database of their own."""
    with TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{folder}/mmufuzz.db")
        times = (last - timedelta(seconds=every * n) for n in reversed(range(len(coverage))))
        store = Store(engine, lambda: next(times))
        Store(engine, lambda: NOW).create_campaign(NIGHTLY)
        for number, reached in enumerate(coverage):
            store.record(BatchResult(1, number, number * 50, 50, 1000, 5.0, reached, ()))
        told = read_pace(engine, 1)
        engine.dispose()
        return told


def told(pace: Pace, state: CampaignState = CampaignState.RUNNING) -> Health:
    return health(msgspec.structs.replace(CAMPAIGN, state=state), pace, NOW)


def test_before_the_first_batch() -> None:
    empty = told(pace())
    assert (empty.is_working, empty.last_batch, empty.steps_per_second, empty.is_growing) == (False, None, 0, False)


def test_working_until_it_is_silent_or_ends() -> None:
    assert told(pace(1)).is_working
    assert not told(pace(1, last=NOW - timedelta(minutes=6))).is_working
    assert not told(pace(1), CampaignState.FINISHED).is_working


def test_speed_is_that_of_the_wall_clock_once_it_is_known() -> None:
    assert told(pace(1)).steps_per_second == 200
    assert told(pace(1, 2, 3)).steps_per_second == 100


def test_growing_is_judged_on_the_last_quarter() -> None:
    assert told(pace(1, 1, 2)).is_growing
    assert told(pace(1, 2, 3, 4)).is_growing
    assert told(pace(1, 5, 5, 6)).is_growing
    assert not told(pace(1, 2, 3, 4, 5, 6, 6, 6)).is_growing
    assert not told(pace(7)).is_growing
