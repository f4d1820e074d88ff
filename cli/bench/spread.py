# SPDX-License-Identifier: GPL-2.0-only
"""Ratios and what they are worth: medians with their extremes, geometric means, times of which some are censored."""

import math
import statistics
from collections.abc import Sequence

from reference_mmu.record import Record


class Spread(Record):
    """The median of some figures, and the smallest and largest of them."""

    median: float
    low: float
    high: float

    def words(self, digits: int = 2) -> str:
        """E.g. "2.31 (2.20 to 2.40)"."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


class Censored(Record):
    """Times to an event, of which those of `censored` runs ended without one.

    `mean`: all the time spent over the number of events, which is what to expect of a search that may find in any
    program as likely as in any other, however early runs are cut off. `at_least`: there was no event at all, and `mean`
    is what it would be if there had been one at the very end. `median`: None if half of the runs or more are censored.
    """

    events: int
    censored: int
    seconds: float
    mean: float
    median: float | None
    at_least: bool


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of one figure or more."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Spread of the ratios of figures that were measured in pairs."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean of one ratio or more, all positive."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def censored(times: Sequence[tuple[float, bool]]) -> Censored:
    """Sum up runs, one or more: how long each took, and whether it ended with the event."""
    events = sum(found for _, found in times)
    seconds = math.fsum(time for time, _ in times)
    return Censored(
        events=events,
        censored=len(times) - events,
        seconds=seconds,
        mean=seconds / max(events, 1),
        median=_median(times),
        at_least=events == 0,
    )


def _median(times: Sequence[tuple[float, bool]]) -> float | None:
    """A censored run would have taken longer than any that was not, if it was cut off later than they ended."""
    median = statistics.median([time if found else math.inf for time, found in times])
    return None if math.isinf(median) else median
