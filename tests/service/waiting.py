# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for something that another process does."""

import threading
import time
from collections.abc import Callable

_POLL_SECONDS = 0.05


def wait_until(holds: Callable[[], bool], what: str, seconds: float) -> None:
    """Return as soon as it holds; fail if it does not within `seconds`."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        pause.wait(_POLL_SECONDS)


def let_pass(seconds: float) -> None:
    """Do nothing for a while, where the time itself is what is tried: an outage, a disaster now and then."""
    threading.Event().wait(seconds)
