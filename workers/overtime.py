# SPDX-License-Identifier: GPL-2.0-only
"""The time limit of a task, from its permit on: Celery's own begins when the task may still have to wait for that."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from celery.exceptions import SoftTimeLimitExceeded


@contextmanager
def overtime(seconds: float) -> Iterator[None]:
    """Raises SoftTimeLimitExceeded in the block when that has lasted so long.  Only in the main thread."""
    before = signal.signal(signal.SIGALRM, _exceeded)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _exceeded(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SoftTimeLimitExceeded
