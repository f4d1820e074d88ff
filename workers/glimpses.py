# SPDX-License-Identifier: GPL-2.0-only
"""What a batch tells while it runs: an interpreted one takes a minute, and people see within seconds what it saw."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import Engine

from db.glimpses import store_glimpses
from db.session import StoreUnavailable
from fuzzer.judge.seen import Trace
from workers.logs import log
from workers.metrics import count_error

# Longer than most compiled batches take: those tell all there is when they end.
GLIMPSE_SECONDS: Final = 2.0


class Glimpses:
    """The traces that a batch has seen and not told yet."""

    def __init__(self, engine: Engine, campaign: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._campaign = campaign
        self._clock = clock
        self._told = clock()
        self._untold: dict[Trace, int] = {}

    def note(self, seed: int, fresh: Iterable[Trace]) -> None:
        """The program of `seed` has ended and shown these for the first time in its batch.

        Raises StoreError, but not for a database that is gone: the batch need not be run again for this.
        """
        self._untold.update((trace, seed) for trace in fresh)
        if not self._untold or self._clock() - self._told < GLIMPSE_SECONDS:
            return
        self._told = self._clock()
        try:
            store_glimpses(self._engine, self._campaign, self._untold)
        except StoreUnavailable as error:
            count_error(error)
            log().warning("glimpses not stored, they come with the batch", error=str(error))
        self._untold.clear()
