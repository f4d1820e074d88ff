# SPDX-License-Identifier: GPL-2.0-only
"""Permits: as many searches at a time as a worker has slots, by one process more than that.

A task is only half a search.  It is looked up before and stored after, which is to wait for the database and, for the
campaign to be moved on, for a good deal of it.  So a worker has a process more than slots: it has its next task in hand
and begins when another's search ends, while that one stores.
"""

import fcntl
import os
import select
import time
from contextlib import suppress
from typing import Final, Self

SPARE_PROCESSES: Final = 1
"""Processes of a worker beyond its slots."""
PERMIT_SECONDS: Final = 10
"""A process that has waited so long for a turn gives its task back: another worker may be idle."""

# Who is killed rings no bell.
_LOOK_SECONDS: Final = 0.5


class Permits:
    """The permits of one worker, shared by all processes that are forked from the one that made it.

    A permit is a lock that the kernel takes back from whoever dies.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._locks = os.memfd_create("mmufuzz-permits")
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Memory that the processes have in common: a byte of it says that the worker ends.
        os.ftruncate(self._locks, 1)

    def take(self, seconds: float = PERMIT_SECONDS) -> "Permit | None":
        """Wait for a permit, but not longer than that; None if there was none, or if the worker ends."""
        until = time.monotonic() + seconds
        while (place := self._free_place()) is None:
            left = until - time.monotonic()
            if left <= 0 or self._closed():
                return None
            select.select([self._bell], [], [], min(left, _LOOK_SECONDS))
            with suppress(BlockingIOError):  # another one has heard it, too
                os.eventfd_read(self._bell)
        return Permit(self, place)

    def close(self) -> None:
        """The worker ends: who waits for a permit need not wait any more; who has one keeps it."""
        os.pwrite(self._locks, b"!", 0)
        os.eventfd_write(self._bell, 1)

    def give_back(self, place: int) -> None:
        """Take back the permit of this place."""
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, place)
        os.eventfd_write(self._bell, 1)

    def _closed(self) -> bool:
        return os.pread(self._locks, 1, 0) == b"!"

    def _free_place(self) -> int | None:
        for place in range(self.slots):
            with suppress(BlockingIOError):
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                return place
        return None


class Permit:
    """The permission of a process to search; it has one at a time.  A context manager: leaving it gives it back."""

    def __init__(self, permits: Permits, place: int) -> None:
        self._permits = permits
        self._place: int | None = place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the next one search."""
        if self._place is not None:
            place, self._place = self._place, None
            self._permits.give_back(place)
