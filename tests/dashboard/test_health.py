# SPDX-License-Identifier: GPL-2.0-only
"""Is the search running, how fast, does it still find anything?"""

from datetime import UTC, datetime, timedelta

import msgspec

from dashboard.health import Health, health
from db.campaigns import CampaignRow
from db.growth import Growth, GrowthPoint
from db.schema import CampaignState
from tests.db.stored import NIGHTLY

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CAMPAIGN = CampaignRow(**msgspec.structs.asdict(NIGHTLY), id=1, created_at=NOW, state=CampaignState.RUNNING)


def points(*coverage: int, every: float = 10.0, last: datetime = NOW) -> Growth:
    first = last - timedelta(seconds=every * (len(coverage) - 1))
    made = (GrowthPoint(first + timedelta(seconds=every * n), 1, 50, 1000, 5.0, c) for n, c in enumerate(coverage))
    return Growth(tuple(made), None, None)


def told(growth: Growth, state: CampaignState = CampaignState.RUNNING) -> Health:
    return health(msgspec.structs.replace(CAMPAIGN, state=state), growth, NOW)


def test_before_the_first_batch() -> None:
    empty = told(Growth((), None, None))
    assert (empty.is_working, empty.last_batch, empty.steps_per_second, empty.is_growing) == (False, None, 0, False)


def test_working_until_it_is_silent_or_ends() -> None:
    assert told(points(1)).is_working
    assert not told(points(1, last=NOW - timedelta(minutes=6))).is_working
    assert not told(points(1), CampaignState.FINISHED).is_working


def test_speed_is_that_of_the_wall_clock_once_it_is_known() -> None:
    assert told(points(1)).steps_per_second == 200
    assert told(points(1, 2, 3)).steps_per_second == 100


def test_growing_is_judged_on_the_last_quarter() -> None:
    assert told(points(1, 1, 2)).is_growing
    assert told(points(1, 2, 3, 4)).is_growing
    assert told(points(1, 5, 5, 6)).is_growing
    assert not told(points(1, 2, 3, 4, 5, 6, 6, 6)).is_growing
    assert not told(points(7)).is_growing
