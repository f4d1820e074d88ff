# SPDX-License-Identifier: GPL-2.0-only
"""A search in several processes of this machine."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from ctypes import c_uint64
from importlib import import_module
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from cli.order import Order, Part
from cli.watchdog import HUNG
from fuzzer.compiled import CoreError, use_compiled_core

_STOP: Final = b"stop"
_ALL: Final = 3  # how often a process can be asked to end
_AGAIN: Final = "and not where it is interpreted, in the program of seed"


class _Running(NamedTuple):
    """A search process, the batch that it was last known to hunt, and whether another one goes on with the next. As
    many findings as are `pressing` may fail the search, and wait to be told in a small story.
    `seed`, that of the program in its hands, is where others can read it when the process hangs. `tells`: it does
    again, interpreted, what hung where it was compiled."""

    process: SpawnProcess
    batch: int
    seed: c_uint64
    followed: bool = False
    tells: bool = False
    pressing: int = 0


class Search:
    """The processes of an order. A context manager: leaving it kills what still runs. `core` is the compiled core that
    they run, if it is not the one of this process, and `packages` where what it was made of is imported from.

        with Search(order) as search:
            while search.running():
                for part in search.parts(0.2): ...

    A process that dies takes along what it had not sent; `failures` says how each such one ended. Where the model hangs
    in one process, all are stopped: it would hang the others, too.
    """

    def __init__(self, order: Order, core: str = "", packages: Path | None = None) -> None:
        self.failures: list[str] = []
        self._order = order
        self._core, self._packages = core, packages
        self._renewed = False
        self._stopped = self._killed = False
        self._decoder = msgspec.msgpack.Decoder(Part)
        self._running: dict[Connection, _Running] = {}

    def __enter__(self) -> Self:
        for number in range(self._order.jobs):
            self._start(self._order, number, self._core)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for running in self._running.values():
            running.process.join()

    def running(self) -> bool:
        """Is there anything more to come?"""
        return bool(self._running)

    def parts(self, seconds: float) -> Iterator[Part]:
        """What has arrived; waits for it, but not longer than `seconds`."""
        for ready in connection.wait(list(self._running), seconds):
            assert isinstance(ready, Connection)
            try:
                part = self._decoder.decode(ready.recv_bytes())
            except (EOFError, OSError):
                self._ended(ready)
                continue
            running = self._running[ready]
            self._running[ready] = running._replace(batch=part.batch, pressing=part.pressing)
            if part.settling:
                self._follow(ready)
            if part.failure:
                self.failures.append(part.failure)
                self.stop()
            if not running.tells:
                yield part

    def pressing(self) -> int:
        """How many findings that may fail the search wait to be told in a small story."""
        return sum(running.pressing for running in self._running.values())

    def stop(self) -> None:
        """Ask all processes to report the batch in hand, as far as it is, to judge what waits, and end; asked again,
        only to judge what nobody has judged the like of, and to make small what may fail the search; once more, without
        that."""
        self._stopped = True
        self._ask_to_end()

    def renew(self, core: str) -> None:
        """Have all processes stop, as if asked three times, and each be followed by one that runs the compiled
        core of that name ("" if there is none), and goes on with the next batch, while the other still judges. It does
        not know what was found before: what it sees again it judges and minimizes again, much sooner than the other."""
        if not self._stopped:
            self._core, self._renewed = core, True
            for _ in range(_ALL):
                self._ask_to_end()

    def kill(self) -> None:
        """End all processes now; what they had not sent is lost."""
        self._killed = True
        for running in self._running.values():
            if running.process.is_alive():
                running.process.kill()

    def _start(self, order: Order, first: int, core: str, *, tells: bool = False) -> None:
        # Spawned, not forked: a forked child would share the parent's database connection and its threads' locks.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        seed = context.RawValue(c_uint64, 0)
        process = context.Process(target=_process, args=(theirs, order, first, core, seed), daemon=True)
        # Ctrl-C goes to the whole process group. Ignoring it is inherited, so no child has a moment without.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A child looks for modules where its parent does at the moment.
        path = list(sys.path)
        sys.path[:0] = [str(self._packages)] if core and self._packages else []
        try:
            process.start()
        finally:
            sys.path[:] = path
            signal.signal(signal.SIGINT, handler)
        theirs.close()
        self._running[ours] = _Running(process, first, seed, tells=tells)

    def _ask_to_end(self) -> None:
        for pipe in self._running:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended by itself: parts() will notice
                pipe.send_bytes(_STOP)

    def _ended(self, pipe: Connection) -> None:
        running = self._running.pop(pipe)
        process = running.process
        process.join()
        if process.exitcode == -HUNG and not self._killed:
            self._tell_hung(int(running.seed.value))
        elif process.exitcode and not self._killed:
            self.failures.append(
                f"search process {process.pid} ended with exit code {process.exitcode}; "
                "the other findings are kept, please report the traceback above"
            )
        elif running.tells and not self.failures:
            self.failures.append(f"the change hangs where it is compiled, {_AGAIN} {running.seed.value}; please report")

    def _tell_hung(self, seed: int) -> None:
        """Stop all processes: a compiled one hung in the program of `seed`, and another one does that program again,
        interpreted, to tell where."""
        self.stop()
        search = msgspec.structs.replace(self._order.search, seed=seed)
        order = msgspec.structs.replace(self._order, search=search, programs=1, batch_programs=1, jobs=1)
        if not any(running.tells for running in self._running.values()):
            self._start(order, 0, "", tells=True)

    def _follow(self, pipe: Connection) -> None:
        """Start who goes on where a process has stopped, if it was stopped for that."""
        running = self._running[pipe]
        if self._renewed and not self._stopped and not running.followed:
            self._running[pipe] = running._replace(followed=True)
            self._start(self._order, running.batch + self._order.jobs, self._core)


def _process(pipe: Connection, order: Order, first: int, core: str, seed: c_uint64) -> None:
    """Body of a search process, whose first batch has the number `first`."""
    if order.diff:
        os.environ["MMUFUZZ_CORE"] = "compiled" if core else "interpreted"
    if use_compiled_core().core != core and core:
        raise CoreError(f"core {core} was to be used, and the sources have changed since")
    hunting = import_module("cli.hunting")  # only now: it imports core modules
    with suppress(BrokenPipeError):  # nobody listens any more
        hunting.hunt_batches(pipe, order, first, seed)
