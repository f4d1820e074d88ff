# SPDX-License-Identifier: GPL-2.0-only
"""Where findings became inevitable, computed on request behind the requests that ask.

Who may read may ask, and only so much: one finding is resampled at a time, once for all who ask, and of those that wait
one visitor has a few. After a restart it is computed again, to the same numbers.
"""

import threading
from typing import Final

import msgspec

from dashboard.replaying import Replayer
from db.replays import TooManyWaiting
from fuzzer.tell.inevitable import Chances

OF_VISITOR_MAX: Final = 4
"""How many answers one visitor may wait for, so that one who asks about everything leaves room for the others; see
dashboard.replaying.WAITING_MAX."""


class Resampling:
    """Knows the chances of reproducers, or begins to find them out."""

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer
        self._lock = threading.Lock()
        self._asked: dict[bytes, str] = {}

    def known(self, body: bytes) -> Chances | None:
        """The chances of a reproducer file, None if nobody asked or they are not known yet.  Raises ReplayFailed."""
        return _decoded(self._replayer.known("chances", body))

    def ask(self, body: bytes, visitor: str) -> Chances | None:
        """The chances of a reproducer file if they are known; else begin to find them out and return None. Raises
        ReplayFailed, and TooManyWaiting."""
        told = self.known(body)
        if told is not None:
            return told
        with self._lock:
            self._asked = {file: who for file, who in self._asked.items() if self._replayer.waits("chances", file)}
            if body not in self._asked and list(self._asked.values()).count(visitor) >= OF_VISITOR_MAX:
                raise TooManyWaiting(f"{OF_VISITOR_MAX} findings are being resampled for you; try again in a minute")
            encoded = self._replayer.soon("chances", body)
            if encoded is None:
                self._asked.setdefault(body, visitor)
        return _decoded(encoded)


def _decoded(encoded: bytes | None) -> Chances | None:
    return None if encoded is None else msgspec.json.decode(encoded, type=Chances)
