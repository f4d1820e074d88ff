# SPDX-License-Identifier: GPL-2.0-only
"""The core of edited sources, or of a change, compiled while the search has begun without it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, Self

from fuzzer.change.merge import Unmergeable
from fuzzer.change.merged_copy import merged_copy
from fuzzer.compiled import core_of_copy, core_to_compile, why_not_compile
from reference_mmu.record import Record

# A search that is over sooner would only be slowed down by compiling the core at the same time.
WORTH_COMPILING_SECONDS: Final = 20


class Compiled(Record):
    """What came of it, in a line, the compiler's own words after it; `core` is "" if there is none."""

    core: str
    line: str


class Plan(Record):
    """Another core for the search processes than that of this one, made of the sources in the folder `packages`, or, if
    that is None, of those that this process has. `ready`: the name of a core that is there already; `core`: where the
    one will be that is compiled meanwhile. `line` says so, or why there is none."""

    packages: Path | None = None
    ready: str = ""
    core: Path | None = None
    line: str = ""


@contextmanager
def planned(diff: str, base: str, seconds: int) -> Iterator[Plan]:
    """The plan for a search of so many seconds, 0 if it is one by programs. Such a search is to be repeated exactly;
    with a new core other processes would go on, and what is found depends on what a process has seen."""
    with ExitStack() as files:
        yield _plan_of_change(diff, base, seconds, files) if diff else _plan_of_sources(seconds)


def _plan_of_sources(seconds: int) -> Plan:
    core = core_to_compile() if seconds >= WORTH_COMPILING_SECONDS else None
    said = "the core is compiled meanwhile; the search goes on with it as soon as it is there"
    return Plan(core=core, line=said) if core else Plan()


def _plan_of_change(diff: str, base: str, seconds: int, files: ExitStack) -> Plan:
    why_not = why_not_compile()
    if why_not:
        return Plan(line=f"core interpreted: {why_not}")
    try:
        packages = files.enter_context(merged_copy(diff, base))
    except (Unmergeable, OSError) as error:
        return Plan(line=f"core interpreted: the change cannot be compiled, {error}")
    core = core_of_copy(packages)
    if core.is_dir():
        return Plan(packages, ready=core.name, line=f"core compiled: core {core.name}, with the change")
    if seconds < WORTH_COMPILING_SECONDS:
        least = f"--seconds {WORTH_COMPILING_SECONDS} or more"
        return Plan(line=f"core interpreted: a change that is new is compiled beside {least}")
    said = "core interpreted: the change is compiled meanwhile; the search goes on with that as soon as it is there"
    return Plan(packages, core=core, line=said)


class Compilation:
    """Compiles what is planned, in a process of its own. A context manager: leaving it ends what is not done, of which
    a later compilation finds the objects."""

    def __init__(self, plan: Plan) -> None:
        self._core, self._packages = plan.core, plan.packages
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        if self._core is not None:
            # Of its own session, so that Ctrl-C is not for it, and the compilers that it has started end with it.
            # With the path of this process, or it might find other packages.
            folders = [str(self._packages), *sys.path] if self._packages else sys.path
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fuzzer.compiled"],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
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
        name = self._core.name
        if self._packages is None and (not self._core.is_dir() or core_to_compile() != self._core):
            return Compiled("", "the sources have changed: the search goes on, interpreted, with what it began with")
        return Compiled(name, f"core {name} is compiled: the search goes on with it")
