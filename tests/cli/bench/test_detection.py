# SPDX-License-Identifier: GPL-2.0-only
import pytest

from cli.bench.bugs import BUGS
from cli.bench.detection import Attempt, bug_times, overall

ONE, TWO = BUGS[0].name, BUGS[1].name


def attempts(bug: str, name: str, *times: tuple[float, bool]) -> list[Attempt]:
    return [Attempt(bug, name, seed, seconds, 10, found) for seed, (seconds, found) in enumerate(times)]


MEASURED = [
    *attempts(ONE, "fast", (1.0, True), (3.0, True)),
    *attempts(ONE, "slow", (30.0, True), (50.0, False)),
    *attempts(ONE, "other", (50.0, False), (50.0, False)),
    *attempts(TWO, "fast", (0.5, True), (1.5, True)),
    *attempts(TWO, "slow", (2.0, True), (8.0, True)),
    *attempts(TWO, "other", (4.0, True), (2.0, True)),
]


def test_times_are_means_over_detections_with_censored_runs_counted() -> None:
    one, two = bug_times(MEASURED, "fast")
    assert (one.bug, two.bug) == (ONE, TWO)
    assert [arm.ratio for arm in one.arms] == [1.0, 40.0, 50.0]
    assert [(arm.time.events, arm.time.censored, arm.time.at_least) for arm in one.arms] == [
        (2, 0, False),
        (1, 1, False),
        (0, 2, True),
    ]
    assert [arm.ratio for arm in two.arms] == [1.0, 5.0, 3.0]


def test_overall_is_the_geometric_mean_and_the_worst() -> None:
    summed = overall(bug_times(MEASURED, "fast"), {"slow": ("slow",), "best": ("slow", "other")})
    slow, best = summed
    assert slow.geometric_mean == pytest.approx((40 * 5) ** 0.5)
    assert (slow.worst, slow.worst_bug, slow.at_least, slow.attempts, slow.censored) == (5.0, TWO, 0, 4, 1)
    assert best.geometric_mean == pytest.approx((40 * 3) ** 0.5)
    assert (best.worst, best.attempts, best.censored) == (3.0, 8, 3)


def test_a_bug_that_the_first_has_not_found_has_no_ratio_and_is_said_to_have_none() -> None:
    measured = [*MEASURED[:6], *attempts(TWO, "fast", (9.0, False)), *attempts(TWO, "slow", (1.0, True))]
    bugs = bug_times(measured, "fast")
    assert [arm.ratio for arm in bugs[1].arms] == [None, None]
    (slow,) = overall(bugs, {"slow": ("slow",)})
    assert (slow.bugs, slow.without) == (1, 1)


def test_an_arm_that_did_not_run_has_no_line() -> None:
    assert overall(bug_times(MEASURED, "fast"), {"absent": ("absent",)}) == []
