# SPDX-License-Identifier: GPL-2.0-only
"""The core of edited sources, compiled while the search has begun without it."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

from fuzzer.compiled import core_to_compile
from reference_mmu.record import Record


class Compiled(Record):
    """What came of it, in a line, the compiler's own words after it; `core` is "" if there is none."""

    core: str
    line: str


class Compilation:
    """Compiles `core`, which is what core_to_compile() said, in a process of its own. A context manager: leaving it
    ends what is not done, of which a later compilation finds the objects."""

    def __init__(self, core: Path | None) -> None:
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        if self._core is not None:
            # Of its own session, so that Ctrl-C is not for it, and the compilers that it has started end with it.
            # With the path of this process, or it might find other packages.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fuzzer.compiled"],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        self._errors.close()

    def outcome(self) -> Compiled | None:
        """None until it is done, and after that has been told."""
        if self._core is None or self._process is None or self._process.poll() is None:
            return None
        failed, self._process = self._process.returncode, None
        if failed:
            self._errors.seek(0)
            return Compiled("", self._errors.read().decode(errors="replace").rstrip())
        if not self._core.is_dir() or core_to_compile() != self._core:
            return Compiled("", "the sources have changed: the search goes on, interpreted, with what it began with")
        return Compiled(self._core.name, f"core {self._core.name} is compiled: the search goes on with it")
