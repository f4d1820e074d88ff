# SPDX-License-Identifier: GPL-2.0-only
"""Where findings became inevitable, computed on request, one after the other, behind the requests that ask.

It takes seconds, so whoever asks first is told to come again. What came out is kept while there is room; after a
restart it is computed again, to the same numbers.
"""

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import msgspec

from dashboard.replaying import Replayer
from db.replays import TooManyWaiting
from fuzzer.inevitable import Chances

KEPT_MAX: Final = 500
WAITING_MAX: Final = 16


class Resampling:
    """Knows them, or finds out in the background until `close`."""

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resampling")
        self._lock = threading.Lock()
        self._asked: OrderedDict[str, Future[Chances]] = OrderedDict()

    def known(self, body: bytes) -> Chances | None:
        """The chances of a reproducer file, None if nobody asked or they are not known yet.  Raises ReplayFailed."""
        with self._lock:
            asked = self._asked.get(_key(body))
        return asked.result() if asked is not None and asked.done() else None

    def ask(self, body: bytes) -> Chances | None:
        """The same, and begins to find out.  Raises ReplayFailed, and TooManyWaiting."""
        with self._lock:
            if _key(body) not in self._asked:
                if sum(not one.done() for one in self._asked.values()) >= WAITING_MAX:
                    raise TooManyWaiting(f"{WAITING_MAX} findings are being resampled; try again in a minute")
                self._asked[_key(body)] = self._thread.submit(self._find_out, body)
                if len(self._asked) > KEPT_MAX:
                    self._asked.popitem(last=False)
        return self.known(body)

    def close(self) -> None:
        """Finish what runs, forget what waits."""
        self._thread.shutdown(cancel_futures=True)

    def _find_out(self, body: bytes) -> Chances:
        return msgspec.json.decode(self._replayer.done("chances", body), type=Chances)


def _key(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
