# SPDX-License-Identifier: GPL-2.0-only
"""Where a bug becomes inevitable: certain from a step on, less before, and the same numbers every time."""

from itertools import pairwise
from math import inf

import msgspec
import pytest

from fuzzer.reproducer import Reproducer
from fuzzer.tell.inevitable import Chances, chances, wilson
from tests.golden import NAMES, golden


@pytest.fixture(scope="module")
def bug() -> Chances:
    return chances(golden("bug-219588"), 24, 1000)


def test_it_is_certain_from_a_step_on_and_less_before(bug: Chances) -> None:
    assert [chance.step for chance in bug.chances] == list(range(bug.steps + 1))
    assert 0 < bug.inevitable < bug.steps
    assert all(chance.shown == chance.walks for chance in bug.chances[bug.inevitable :])
    assert bug.chances[bug.inevitable - 1].shown < bug.chances[0].walks
    # Bug 219588 needs vCPU1's write fault between two steps of vCPU0's read fault: by chance that is rare.
    assert bug.chances[0].share() < 0.5
    assert min(chance.shown for chance in bug.chances) == 0


def test_it_is_the_write_fault_between_the_two_steps_of_the_read_fault_that_decides(bug: Chances) -> None:
    decisive = golden("bug-219588").run().turns[bug.inevitable - 1]
    assert (decisive.actor, decisive.uid) == (1, 4)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_schedule_shows_every_golden_finding(name: str) -> None:
    told = chances(golden(name), 5, 2)
    assert [chance.step for chance in told.chances] == [0, told.steps]
    assert told.chances[-1].shown == 5


def test_the_same_file_gives_the_same_numbers_whatever_it_says_about_itself() -> None:
    first = chances(golden("bug-219588"), 4, 1000)
    other = msgspec.structs.replace(golden("bug-219588"), digest="0" * 16, model="another")
    assert chances(golden("bug-219588"), 4, 1000) == chances(other, 4, 1000) == first
    moved = msgspec.structs.replace(other, switches=other.switches[:-1])
    assert chances(moved, 4, 1000).chances != first.chances


def test_a_finding_that_never_shows_is_never_inevitable() -> None:
    never: Reproducer = golden("bug-219588")
    never = msgspec.structs.replace(never, finding=msgspec.structs.replace(never.finding, what="no-progress"))
    told = chances(never, 3, 10)
    assert told.inevitable == -1
    assert {chance.shown for chance in told.chances} == {0}


@pytest.mark.parametrize("steps_max", [2, 5, 37])
def test_of_a_long_schedule_evenly_spread_steps_are_asked(steps_max: int) -> None:
    told = chances(golden("bug-219588"), 1, steps_max)
    steps = [chance.step for chance in told.chances]
    gaps = {after - before for before, after in pairwise(steps)}
    assert (steps[0], steps[-1], len(steps)) == (0, told.steps, steps_max)
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("shown", "walks", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(shown: int, walks: int, low: float, high: float) -> None:
    assert wilson(shown, walks) == (low, high)


def test_the_interval_holds_the_share_and_narrows() -> None:
    width = inf
    for walks in (4, 40, 400):
        low, high = wilson(walks // 4, walks)
        assert low < 0.25 < high
        assert high - low < width
        width = high - low
    assert wilson(10, 10)[1] == 1.0
