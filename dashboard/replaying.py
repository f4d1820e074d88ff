# SPDX-License-Identifier: GPL-2.0-only
"""Replays and searches in child processes with limits, and what they gave, kept while there is room."""

import hashlib
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final, Literal

import msgspec

from fuzzer.export.trace_json import Trace

_CACHE_BYTES_MAX: Final = 32 << 20
_TRACE_BYTES_MAX: Final = 16 << 20
# Other processes may keep the processor from it so much longer.
_CLOCK: Final = 4
_SOURCES: Final = Path(__file__).resolve().parent.parent
# All of the environment that a child gets: the server's holds the way to the database.
_INHERITED: Final = ("PATH", "LANG", "MMUFUZZ_CORE", "XDG_CACHE_HOME", "HOME")


Job = Literal["trace", "chances", "search"]
"""What a child can do, see dashboard.replay_child."""


class ReplayFailed(Exception):
    """There is no result; the message is one line for people."""


class Replayer:
    """Runs files from anywhere, at most `at_once` at a time, each within its limits."""

    def __init__(self, cpu_seconds: int, megabytes: int, at_once: int) -> None:
        self._cpu_seconds = cpu_seconds
        self._megabytes = megabytes
        self._slots = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def trace(self, body: bytes) -> Trace:
        """The decoded trace.  Raises ReplayFailed."""
        return msgspec.json.decode(self.encoded_trace(body), type=Trace)

    def encoded_trace(self, body: bytes) -> bytes:
        """The trace as JSON, see fuzzer.export.trace_json.  Raises ReplayFailed."""
        return self.done("trace", body)

    def done(self, job: Job, body: bytes) -> bytes:
        """What a child made of the file.  Raises ReplayFailed."""
        key = f"{job} {hashlib.sha256(body).hexdigest()}"
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        with self._slots:
            encoded = self._run(job, body)
        with self._lock:
            self._kept[key] = encoded
            while sum(map(len, self._kept.values())) > _CACHE_BYTES_MAX:
                self._kept.popitem(last=False)
        return encoded

    def _run(self, job: Job, body: bytes) -> bytes:
        limits = (str(self._cpu_seconds), str(self._megabytes))
        command = [sys.executable, "-m", "dashboard.replay_child", job, *limits]
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": str(_SOURCES), "PYTHONSAFEPATH": "1"}
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
        if len(run.stdout) > _TRACE_BYTES_MAX:
            raise ReplayFailed("what came of it is too long to be shown")
        return run.stdout
