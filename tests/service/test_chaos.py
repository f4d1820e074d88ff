# SPDX-License-Identifier: GPL-2.0-only
"""The short form of the chaos test; `python -m tests.service.chaos --minutes 10` is the long one."""

from pathlib import Path

from tests.service.chaos import Plan, alone, disturbed
from tests.service.fleet import Fleet

PLAN = Plan(batches=20, batch_programs=3, seed=1, pause_batches=(1, 3), pause_seconds=2.5, disasters=10)


def test_nothing_is_lost_and_nothing_counted_twice(fleet: Fleet, tmp_path: Path) -> None:
    outcome = disturbed(fleet, PLAN, alone(PLAN, tmp_path))
    assert outcome.wrong == ()
    assert sum(outcome.disasters.values()) >= 3, "the campaign was disturbed"
