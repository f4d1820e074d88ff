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
from typing import Final, Self

import msgspec

from cli.order import Order, Part
from fuzzer.compiled import use_compiled_core

_STOP: Final = b"stop"


class Search:
    """The processes of an order. A context manager: leaving it kills what still runs.

        with Search(order) as search:
            while search.running():
                for part in search.parts(0.2): ...

    A process that dies takes along what it had not sent; `failures` says how each such one ended. Where the model hangs
    in one process, all are stopped: it would hang the others, too.
    """

    def __init__(self, order: Order) -> None:
        # Spawned, not forked: a forked child would share the parent's database connection and its threads' locks.
        context = get_context("spawn")
        self.failures: list[str] = []
        self._killed = False
        self._decoder = msgspec.msgpack.Decoder(Part)
        self._processes: dict[Connection, SpawnProcess] = {}
        self._unstarted: list[tuple[SpawnProcess, Connection]] = []
        for number in range(order.jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_process, args=(theirs, order, number), daemon=True)
            self._processes[ours] = process
            self._unstarted.append((process, theirs))

    def __enter__(self) -> Self:
        # Ctrl-C goes to the whole process group. Ignoring it is inherited, so no child has a moment without.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process, theirs in self._unstarted:
                process.start()
                theirs.close()
        finally:
            signal.signal(signal.SIGINT, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        for process in self._processes.values():
            process.join()

    def running(self) -> bool:
        """Is there anything more to come?"""
        return bool(self._processes)

    def parts(self, seconds: float) -> Iterator[Part]:
        """What has arrived; waits for it, but not longer than `seconds`."""
        for ready in connection.wait(list(self._processes), seconds):
            assert isinstance(ready, Connection)
            try:
                part = self._decoder.decode(ready.recv_bytes())
            except (EOFError, OSError):
                self._ended(ready)
                continue
            if part.failure:
                self.failures.append(part.failure)
                self.stop()
            yield part

    def stop(self) -> None:
        """Ask all processes to report the batch in hand, as far as it is, to judge what waits, and end; asked again,
        only to judge what nobody has judged the like of, and end."""
        for pipe in self._processes:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended by itself: parts() will notice
                pipe.send_bytes(_STOP)

    def kill(self) -> None:
        """End all processes now; what they had not sent is lost."""
        self._killed = True
        for process in self._processes.values():
            if process.is_alive():
                process.kill()

    def _ended(self, pipe: Connection) -> None:
        process = self._processes.pop(pipe)
        process.join()
        if process.exitcode and not self._killed:
            self.failures.append(
                f"search process {process.pid} ended with exit code {process.exitcode}; "
                "the other findings are kept, please report the traceback above"
            )


def _process(pipe: Connection, order: Order, number: int) -> None:
    """Body of a search process."""
    use_compiled_core()
    hunting = import_module("cli.hunting")  # only now: it imports core modules
    with suppress(BrokenPipeError):  # nobody listens any more
        hunting.hunt_batches(pipe, order, number)
