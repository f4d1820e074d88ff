# SPDX-License-Identifier: GPL-2.0-only
"""A search in several processes of this machine."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from cli.order import Order, Part
from fuzzer.compiled import CoreError, use_compiled_core

_STOP: Final = b"stop"


class _Running(NamedTuple):
    """A search process, the batch that it was last known to hunt, and whether another one goes on with the next."""

    process: SpawnProcess
    batch: int
    followed: bool = False


class Search:
    """The processes of an order. A context manager: leaving it kills what still runs.

        with Search(order) as search:
            while search.running():
                for part in search.parts(0.2): ...

    A process that dies takes along what it had not sent; `failures` says how each such one ended. Where the model hangs
    in one process, all are stopped: it would hang the others, too.
    """

    def __init__(self, order: Order) -> None:
        self.failures: list[str] = []
        self._order = order
        self._core: str | None = None
        self._stopped = self._killed = False
        self._decoder = msgspec.msgpack.Decoder(Part)
        self._running: dict[Connection, _Running] = {}

    def __enter__(self) -> Self:
        for number in range(self._order.jobs):
            self._start(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
            self._running[ready] = self._running[ready]._replace(batch=part.batch)
            if part.settling:
                self._follow(ready)
            if part.failure:
                self.failures.append(part.failure)
                self.stop()
            yield part

    def stop(self) -> None:
        """Ask all processes to report the batch in hand, as far as it is, to judge what waits, and end; asked again,
        only to judge what nobody has judged the like of, and end."""
        self._stopped = True
        self._ask_to_end()

    def renew(self, core: str) -> None:
        """Have all processes stop, as if they were asked twice, and each be followed by one that runs the compiled core
        of that name ("" if there is none) and goes on with the next batch, while the other still judges. It does not
        know what was found before: what it sees again it judges and minimizes again, much sooner than the other."""
        if not self._stopped:
            self._core = core
            self._ask_to_end()
            self._ask_to_end()

    def kill(self) -> None:
        """End all processes now; what they had not sent is lost."""
        self._killed = True
        for running in self._running.values():
            if running.process.is_alive():
                running.process.kill()

    def _start(self, first: int) -> None:
        # Spawned, not forked: a forked child would share the parent's database connection and its threads' locks.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_process, args=(theirs, self._order, first, self._core or ""), daemon=True)
        # Ctrl-C goes to the whole process group. Ignoring it is inherited, so no child has a moment without.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()
        self._running[ours] = _Running(process, first)

    def _ask_to_end(self) -> None:
        for pipe in self._running:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended by itself: parts() will notice
                pipe.send_bytes(_STOP)

    def _ended(self, pipe: Connection) -> None:
        process = self._running[pipe].process
        process.join()
        if process.exitcode and not self._killed:
            self.failures.append(
                f"search process {process.pid} ended with exit code {process.exitcode}; "
                "the other findings are kept, please report the traceback above"
            )
        del self._running[pipe]

    def _follow(self, pipe: Connection) -> None:
        """Start who goes on where a process has stopped, if it was stopped for that."""
        running = self._running[pipe]
        if self._core is not None and not self._stopped and not running.followed:
            self._running[pipe] = running._replace(followed=True)
            self._start(running.batch + self._order.jobs)


def _process(pipe: Connection, order: Order, first: int, core: str) -> None:
    """Body of a search process, whose first batch has the number `first`."""
    if use_compiled_core().core != core and core:
        raise CoreError(f"core {core} was to be used, and the sources have changed since")
    hunting = import_module("cli.hunting")  # only now: it imports core modules
    with suppress(BrokenPipeError):  # nobody listens any more
        hunting.hunt_batches(pipe, order, first)
