# SPDX-License-Identifier: GPL-2.0-only
"""What many listeners want to know at the same time is found out once."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

_Value = TypeVar("_Value")
_KEPT_MAX: Final = 1000


class Snapshots(Generic[_Value]):
    """Values by key, each made anew when it is older than `seconds`."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._kept: dict[Hashable, tuple[float, _Value]] = {}

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value, from `make` unless there is one that is young enough.  Who asks meanwhile waits for it."""
        with self._lock:
            if len(self._locks) > _KEPT_MAX:
                self._locks.clear()
                self._kept.clear()
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            kept = self._kept.get(key)
            if kept is None or self._clock() - kept[0] > self._seconds:
                value = make()
                # Its age counts from when it was finished: a database that is slow is asked less often.
                self._kept[key] = kept = (self._clock(), value)
            return kept[1]
