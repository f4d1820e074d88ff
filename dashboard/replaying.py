# SPDX-License-Identifier: GPL-2.0-only
"""Replays and searches in child processes with limits, and what they gave, kept while there is room.

What several ask for is run once. Replays for pages have children of their own, so that what takes long, searches and
chances, does not keep them waiting; and only so many requests may wait for a child, or they would take all threads of
the server.
"""

import hashlib
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

import msgspec

from db.replays import TooManyWaiting
from fuzzer.tell.export.trace_json import ReplayDocument

WAITING_MAX: Final = 16
"""How many jobs of each kind there may be, those that run included; also how many requests may wait for one."""
KEPT_MAX: Final = 500
_CACHE_BYTES_MAX: Final = 32 << 20
_RESULT_BYTES_MAX: Final = 16 << 20
# Other processes may keep the processor from it so much longer.
_CLOCK: Final = 4
_SOURCES: Final = Path(__file__).resolve().parent.parent
# All of the environment that a child gets: the server's holds the way to the database.
_INHERITED: Final = ("PATH", "LANG", "MMUFUZZ_CORE", "XDG_CACHE_HOME", "HOME")


Job = Literal["trace", "chances", "search"]
"""What a child can do, see dashboard.replay_child."""
_Key = tuple[Job, str]


class ReplayFailed(Exception):
    """There is no result; the message is one line for people."""


class Replayer:
    """Runs files from anywhere until `close`, at most `at_once` at a time, each within its limits."""

    def __init__(self, cpu_seconds: int, megabytes: int, at_once: int) -> None:
        self._cpu_seconds = cpu_seconds
        self._megabytes = megabytes
        self._slots = threading.BoundedSemaphore(at_once)
        long = ThreadPoolExecutor(1, "long")
        short = ThreadPoolExecutor(max(1, at_once - 1), "replays")
        self._pools: dict[Job, ThreadPoolExecutor] = {"trace": short, "chances": long, "search": long}
        self._patient = threading.BoundedSemaphore(WAITING_MAX)
        self._lock = threading.RLock()
        self._results: OrderedDict[_Key, Future[bytes]] = OrderedDict()
        self._closed = False

    def trace(self, body: bytes) -> ReplayDocument:
        """The decoded trace; waits for it. Raises ReplayFailed and TooManyWaiting."""
        return msgspec.json.decode(self.encoded_trace(body), type=ReplayDocument)

    def encoded_trace(self, body: bytes) -> bytes:
        """The trace as JSON, see fuzzer.tell.export.trace_json; waits for it. Raises ReplayFailed and
        TooManyWaiting."""
        result = self.known("trace", body)
        if result is not None:
            return result
        if not self._patient.acquire(blocking=False):
            raise TooManyWaiting(f"{WAITING_MAX} requests wait for a replay; try again in a minute")
        try:
            return self.done("trace", body)
        finally:
            self._patient.release()

    def done(self, job: Job, body: bytes) -> bytes:
        """What a child process made of the file; waits for it. Raises ReplayFailed and TooManyWaiting, and
        CancelledError after `close`."""
        key = _key(job, body)
        return self._told(key, self._begun(key, body))

    def soon(self, job: Job, body: bytes) -> bytes | None:
        """The cached result; if there is none, begin the job and return None. Raises ReplayFailed and
        TooManyWaiting."""
        key = _key(job, body)
        future = self._begun(key, body)
        return self._told(key, future) if future.done() else None

    def known(self, job: Job, body: bytes) -> bytes | None:
        """The cached result, or None; begins nothing. Raises ReplayFailed."""
        key = _key(job, body)
        future = self._asked_for(key)
        return self._told(key, future) if future is not None and future.done() else None

    def waits(self, job: Job, body: bytes) -> bool:
        """Is the job begun and not done?"""
        future = self._asked_for(_key(job, body))
        return future is not None and not future.done()

    def close(self) -> None:
        """Finish what runs, forget what waits."""
        with self._lock:
            self._closed = True
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)

    def _asked_for(self, key: _Key) -> Future[bytes] | None:
        with self._lock:
            future = self._results.get(key)
            if future is not None:
                self._results.move_to_end(key)
            return future

    def _begun(self, key: _Key, body: bytes) -> Future[bytes]:
        job, _ = key
        with self._lock:
            future = self._asked_for(key)
            if future is None:
                if self._closed:
                    raise CancelledError
                if sum(of == job and not one.done() for (of, _), one in self._results.items()) >= WAITING_MAX:
                    raise TooManyWaiting(f"{WAITING_MAX} files are to be run already; try again in a minute")
                future = self._results[key] = self._pools[job].submit(self._run, job, body)
                future.add_done_callback(self._make_room)
            return future

    def _told(self, key: _Key, future: Future[bytes]) -> bytes:
        try:
            return future.result()
        except ReplayFailed:
            # The next who asks may meet a machine that does less.
            with self._lock:
                if self._results.get(key) is future:
                    del self._results[key]
            raise

    def _make_room(self, _new: Future[bytes]) -> None:
        """Forget what was asked for least lately, of what is done."""
        with self._lock:
            sizes = {key: _size(future) for key, future in self._results.items() if future.done()}
            for key in list(sizes):
                if len(sizes) <= KEPT_MAX and sum(sizes.values()) <= _CACHE_BYTES_MAX:
                    break
                del self._results[key], sizes[key]

    def _run(self, job: Job, body: bytes) -> bytes:
        limits = (str(self._cpu_seconds), str(self._megabytes))
        command = [sys.executable, "-m", "dashboard.replay_child", job, *limits]
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": str(_SOURCES), "PYTHONSAFEPATH": "1"}
        with self._slots:
            try:
                run = subprocess.run(
                    command, input=body, capture_output=True, timeout=_CLOCK * self._cpu_seconds, env=environment
                )
            except subprocess.TimeoutExpired as error:
                raise ReplayFailed(f"not done after {_CLOCK * self._cpu_seconds} s") from error
        if run.returncode < 0:
            raise ReplayFailed(f"not done after {self._cpu_seconds} s of processor time, or out of memory")
        if run.returncode:
            reason = run.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise ReplayFailed(reason if run.returncode == 2 else f"the replay failed: {reason}")
        if len(run.stdout) > _RESULT_BYTES_MAX:
            raise ReplayFailed("what came of it is too long to be shown")
        return run.stdout


def _key(job: Job, body: bytes) -> _Key:
    return job, hashlib.sha256(body).hexdigest()


def _size(future: Future[bytes]) -> int:
    return 0 if future.cancelled() or future.exception() else len(future.result())
