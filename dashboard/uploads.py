# SPDX-License-Identifier: GPL-2.0-only
"""Uploaded reproducers are replayed one after the other, behind the request that brought them.

What waits stands in the database, so a restart forgets nothing.
"""

from concurrent.futures import ThreadPoolExecutor

from dashboard.replaying import Replayer, ReplayFailed
from db.replays import ReplayRow, Replays
from db.schema import ReplayState


class Uploads:
    """Takes uploads and replays them in the background, from `resume` until `close`."""

    def __init__(self, replays: Replays, replayer: Replayer) -> None:
        self._replays = replays
        self._replayer = replayer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="uploads")

    def resume(self) -> None:
        """Go on with what waited when the last process ended."""
        for receipt in self._replays.waiting():
            self._thread.submit(self._replay, receipt)

    def close(self) -> None:
        """Finish the replay that runs; the others wait in the database."""
        self._thread.shutdown(cancel_futures=True)

    def submit(self, body: bytes, uploaded_by: str) -> ReplayRow:
        """Store and queue an upload.  Raises StoreError."""
        row = self._replays.submit(body, uploaded_by)
        if row.state is ReplayState.WAITING:
            self._thread.submit(self._replay, row.id)
        return row

    def _replay(self, receipt: str) -> None:
        row, body = self._replays.get(receipt), self._replays.body(receipt)
        if row is None or body is None or row.state is not ReplayState.WAITING:
            return
        try:
            trace = self._replayer.encoded_trace(body)
        except ReplayFailed as error:
            self._replays.finish(receipt, None, str(error))
        else:
            self._replays.finish(receipt, trace, None)
