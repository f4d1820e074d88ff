# SPDX-License-Identifier: GPL-2.0-only
"""How much memory a task may take."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

_MIB: Final = 2**20
_STATUS: Final = Path("/proc/self/status")


class OutOfMemory(RuntimeError):
    """A task needs more memory than it may take, or than there is.

    No MemoryError: Celery takes one of a task for its own, and ends the worker (celery.worker.request.on_failure).
    """


@contextmanager
def allowance(mebibytes: int | None) -> Iterator[None]:
    """In the block this process may take so much more memory than it has, any amount if that is None.

    Raises OutOfMemory, or ends the process where C code can raise nothing; either way the task has failed.
    Counted is what a process can write and shares with nobody, reserved or used (RLIMIT_DATA, setrlimit(2)).
    """
    try:
        with nullcontext() if mebibytes is None else _limited(mebibytes):
            yield
    except MemoryError as error:
        most = "there is" if mebibytes is None else f"{mebibytes} MiB"
        raise OutOfMemory(f"needs more memory than {most}") from error


@contextmanager
def _limited(mebibytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes() + mebibytes * _MIB
    hard = before[1]
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def data_bytes() -> int:
    """What RLIMIT_DATA counts of this process: VmData, see proc_pid_status(5)."""
    (line,) = (line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024
