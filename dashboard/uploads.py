# SPDX-License-Identifier: GPL-2.0-only
"""Uploads are run one after the other, behind the request that brought them: a reproducer is replayed, a program is
searched with.

What waits stands in the database, so a restart forgets nothing.
"""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Final

import msgspec

from dashboard.replaying import Job, Replayer, ReplayFailed
from db.replays import ReplayRow, Replays, TooManyWaiting
from db.schema import ReplayState, UploadKind
from db.session import StoreUnavailable
from fuzzer.program.program import decode_program
from fuzzer.tell.export.envelope import is_program
from reference_mmu.config import ConfigError

_AGAIN_SECONDS: Final = 5
_JOBS: Final[dict[UploadKind, Job]] = {UploadKind.REPRODUCER: "trace", UploadKind.PROGRAM: "search"}


class BadProgram(Exception):
    """An upload that is meant to be a program and cannot be run; the message is one line."""


class Uploads:
    """Takes uploads and runs them in the background, from `resume` until `close`."""

    def __init__(self, replays: Replays, replayer: Replayer) -> None:
        self._replays = replays
        self._replayer = replayer
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="uploads")

    def resume(self) -> None:
        """Go on with what waited when the last process ended."""
        for receipt in self._replays.waiting():
            self._thread.submit(self._run, receipt)

    def close(self) -> None:
        """Finish what runs; the others wait in the database."""
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)

    def submit(self, body: bytes, uploaded_by: str) -> ReplayRow:
        """Store and queue an upload.  Raises BadProgram and StoreError."""
        row = self._replays.submit(body, uploaded_by, kind_of(body))
        if row.state is ReplayState.WAITING:
            self._thread.submit(self._run, row.id)
        return row

    def _run(self, receipt: str) -> None:
        """An upload whose result could not be stored would wait until the server is started again."""
        while not self._closing.is_set():
            try:
                self._finish(receipt)
                return
            except (StoreUnavailable, TooManyWaiting):
                self._closing.wait(_AGAIN_SECONDS)
            except CancelledError:
                return

    def _finish(self, receipt: str) -> None:
        row, body = self._replays.get(receipt), self._replays.body(receipt)
        if row is None or body is None or row.state is not ReplayState.WAITING:
            return
        try:
            result = self._replayer.done(_JOBS[row.kind], body)
        except ReplayFailed as error:
            self._replays.finish(receipt, None, str(error))
        else:
            self._replays.finish(receipt, result, None)


def kind_of(body: bytes) -> UploadKind:
    """What an upload is meant to be.  Of a program it is checked at once that it can be run: raises BadProgram."""
    if not is_program(body):
        return UploadKind.REPRODUCER
    try:
        decode_program(body)
    except (ConfigError, msgspec.DecodeError, RecursionError) as error:
        raise BadProgram(" ".join(str(error).split())) from error
    return UploadKind.PROGRAM
