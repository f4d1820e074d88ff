# SPDX-License-Identifier: GPL-2.0-only
"""One search process: a Hunt that lives as long as the process, batch after batch."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import c_uint64
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from typing import Final

import msgspec

from cli.order import Gain, Order, Part
from cli.watchdog import Hung, last_resort, watchdog
from fuzzer.change.applied import APPLIED
from fuzzer.change.merged_copy import merged_models
from fuzzer.change.variant import changed_models
from fuzzer.compiled import use_compiled_core
from fuzzer.hunt import Hunt
from fuzzer.run.compare import Models
from fuzzer.seed_runner import runner_of

# How long a process may have counted programs that nobody has heard of.
_REPORT_SECONDS: Final = 0.25
# How often it looks whether anybody told it to stop.
_LISTEN_SECONDS: Final = 0.02
# While it searches, one part in so many goes into judging, see fuzzer.run.effort: what waits is judged in the end.
PATIENCE: Final = 10


def hunt_batches(connection: Connection, order: Order, first: int, seed: c_uint64) -> None:
    """Hunt the batches of one process, number `first` and on, and send Parts, until the last one, or until anything
    comes from the other side: then the batch in hand is cut short.  What waits to be judged then is judged, until
    anything comes again: then only what nobody has judged the like of, and stories of what may fail the search; and if
    more comes, without these.  The end of file ends all of it.  `seed` is always that of the program in hand."""
    hunter = Hunter(order, partial(setattr, seed, "value"))
    gc.freeze()  # what is here now stays: the collector need not look at it again and again
    try:
        with last_resort() if hunter.is_merged else watchdog():
            _hunt_batches(connection, hunter, first)
    except Hung as hung:
        connection.send_bytes(msgspec.msgpack.encode(hunter.last_word(hung)))


def _hunt_batches(connection: Connection, hunter: "Hunter", first: int) -> None:
    order = hunter.order
    for number in count(first, order.jobs):
        if not order.batch(number):
            return
        for part in hunter.hunt(number, Listener(connection), last=not order.batch(number + order.jobs)):
            connection.send_bytes(msgspec.msgpack.encode(part))
        if hunter.stopped:
            return


class Listener:
    """Hears what comes from the other side, and asks seldom enough to cost nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._at = 0.0

    def hears(self) -> bool:
        """Has anything come, or does nobody listen any more?  Each message is heard once."""
        now = time.monotonic()
        if now - self._at < _LISTEN_SECONDS:
            return False
        self._at = now
        if not self._connection.poll():
            return False
        with suppress(EOFError, OSError):
            self._connection.recv_bytes()
        return True


class Hunter:
    """A Hunt, and how much of it has been reported."""

    def __init__(self, order: Order, begins: Callable[[int], object] = lambda seed: None) -> None:
        self.order = order
        self.is_merged = bool(order.diff) and use_compiled_core().compiled
        models = Models()
        if order.diff:
            made = merged_models if self.is_merged else changed_models
            models = made(order.diff, order.base)
            models = msgspec.structs.replace(models, allowed=frozenset(order.allowed))
        self.search = Hunt(runner_of(order.search, models), patience=PATIENCE, begins=begins)
        self.stopped = False
        self.batch = 0
        self.counted: dict[str, int] = {}
        self.sent: dict[str, bool] = {}
        """By signature, whether the reproducer that was sent is a minimized one."""
        self.gains: dict[str, Gain] = {}
        self.programs = 0
        self.steps = 0
        self.points: set[int] = set()
        self.ran: set[int] = set()
        self.since = time.monotonic()

    def hunt(self, number: int, listener: Listener, *, last: bool) -> Iterator[Part]:
        """The parts of one batch; after the last one, and after one that is cut short, what waits is judged."""
        self.since = time.monotonic()
        self.batch = number
        for seed in self.order.batch(number):
            fresh = self.search.one(seed)
            self.stopped = listener.hears()
            if self.stopped:
                yield self.part(number, last=False)
                break
            if fresh or time.monotonic() - self.since > _REPORT_SECONDS:
                yield self.part(number, last=False)
        if last or self.stopped:
            yield from self.settle(number, listener)
        yield self.part(number, last=True)

    def settle(self, number: int, listener: Listener) -> Iterator[Part]:
        """Judge what waits; once it is told again to stop, only what was never judged, and stories of what may fail the
        search, these first; once more, without these."""
        told = 0
        docket = self.search.docket
        for fresh in self.search.settle():
            if listener.hears():
                told += 1
                docket.press()
            if fresh or time.monotonic() - self.since > _REPORT_SECONDS:
                yield self.part(number, last=False)
            if told and not docket.has_unseen() and (told > 1 or not docket.pressing()):
                self.stopped = True
                return

    def note(self) -> None:
        """Note which findings have grown, or become smaller, since this was last asked."""
        for name, seed in self.search.grown.items():
            found = self.search.found[name]
            grown = found.count - self.counted.get(name, 0)
            body = None if self.sent.get(name) == found.minimized else found.reproducer
            self.counted[name] = found.count
            self.sent[name] = found.minimized
            if grown or body is not None:
                self.gains[name] = Gain(
                    found.finding, grown, seed, body, found.operations, found.preemptions, found.minimized
                )
        self.search.grown.clear()

    def last_word(self, hung: Hung) -> Part:
        """What has come since the last part, and that no more will."""
        seed = self.search.seed
        again = f"--seed {seed} --programs 1 --jobs 1 does it again"
        failure = f"the model hangs in the program of seed {seed}, {hung}: no `yield`; {again}, findings are kept"
        return msgspec.structs.replace(self.part(self.batch, last=False), failure=failure)

    def part(self, number: int, *, last: bool) -> Part:
        """What has come since the last part."""
        self.note()
        now, ground = time.monotonic(), self.search.ground
        part = Part(
            batch=number,
            programs=ground.programs - self.programs,
            steps=ground.steps - self.steps,
            seconds=now - self.since,
            coverage=tuple(ground.coverage.pairs - self.points),
            gains=tuple(self.gains.values()),
            last=last,
            settling=self.stopped,
            merged=self.is_merged,
            ran=tuple(sorted(APPLIED.ran - self.ran)),
            pressing=self.search.docket.pressing(),
        )
        self.programs, self.steps, self.since = ground.programs, ground.steps, now
        self.points.update(part.coverage)
        self.ran.update(part.ran)
        self.gains = {}
        return part
