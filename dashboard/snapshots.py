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
        """The value, from `make` unless there is one that is young enough.

        Who asks while it is being made gets the one before, and waits only if there is none: a database that hangs
        must not take all threads with it.
        """
        with self._lock:
            if len(self._locks) > _KEPT_MAX:
                self._locks.clear()
                self._kept.clear()
            lock = self._locks.setdefault(key, threading.Lock())
        kept = self._kept.get(key)
        if kept is not None and (self._is_young(kept) or not lock.acquire(blocking=False)):
            return kept[1]
        if kept is None:
            lock.acquire()
        try:
            kept = self._kept.get(key)
            if kept is None or not self._is_young(kept):
                value = make()
                # Its age counts from when it was finished: a database that is slow is asked less often.
                self._kept[key] = kept = (self._clock(), value)
            return kept[1]
        finally:
            lock.release()

    def _is_young(self, kept: tuple[float, _Value]) -> bool:
        return self._clock() - kept[0] <= self._seconds
