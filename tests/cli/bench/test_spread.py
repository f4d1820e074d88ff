# SPDX-License-Identifier: GPL-2.0-only
import pytest

from cli.bench.spread import censored, geometric_mean, ratios, spread


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert spread([3.0, 1.0, 2.0]).words() == "2.00 (1.00 to 3.00)"


def test_ratios_are_made_pair_by_pair() -> None:
    """A machine that was twice as slow for one pair does not show."""
    assert ratios([10.0, 5.0, 12.0], [5.0, 2.5, 4.0]).words(1) == "2.0 (2.0 to 3.0)"


def test_ratios_of_what_is_no_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_the_geometric_mean_treats_twice_and_half_alike() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10.0)


def test_a_censored_run_counts_with_its_time_and_not_as_an_event() -> None:
    seen = censored([(1.0, True), (10.0, False), (4.0, True)])
    assert (seen.events, seen.censored, seen.seconds, seen.mean) == (2, 1, 15.0, 7.5)
    assert seen.median == 4.0
    assert not seen.at_least


def test_without_an_event_there_is_only_a_bound() -> None:
    seen = censored([(10.0, False), (10.0, False)])
    assert (seen.events, seen.mean, seen.median, seen.at_least) == (0, 20.0, None, True)


def test_there_is_no_median_if_half_is_censored() -> None:
    assert censored([(1.0, True), (10.0, False)]).median is None
