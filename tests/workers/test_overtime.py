# SPDX-License-Identifier: GPL-2.0-only
"""The time limit of a task."""

import signal

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from workers.overtime import overtime


def test_it_ends_what_takes_too_long() -> None:
    with pytest.raises(SoftTimeLimitExceeded), overtime(0.01):
        signal.pause()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_ends_in_time_leaves_nothing_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with overtime(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before
