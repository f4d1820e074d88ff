# SPDX-License-Identifier: GPL-2.0-only
"""One search process: a Hunt that lives as long as the process, batch after batch."""

import time
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from typing import Final

import msgspec

from fuzzer.compare import Models
from fuzzer.finding import FoundFinding
from fuzzer.hunt import Hunt
from fuzzer.profile import PROFILES
from fuzzer.schedulers import STRATEGIES
from fuzzer.variant import changed_models
from reference_mmu.semantics import parse_semantics
from workers.order import Gain, Order, Part
from workers.watchdog import Hung, watchdog

# How long a process may have counted programs that nobody has heard of.
_REPORT_SECONDS: Final = 0.25


def hunt_batches(connection: Connection, order: Order, process: int) -> None:
    """Hunt the batches of process number `process` and send Parts, until the last one or until anything, or the end of
    file, comes from the other side: then the batch in hand is cut short."""
    hunter = Hunter(order)
    try:
        with watchdog():
            _hunt_batches(connection, hunter, process)
    except Hung as hung:
        connection.send_bytes(msgspec.msgpack.encode(hunter.last_word(hung)))


def _hunt_batches(connection: Connection, hunter: "Hunter", process: int) -> None:
    order = hunter.order
    for number in count(process, order.jobs):
        if not order.batch(number):
            return
        for part in hunter.hunt(number, connection):
            connection.send_bytes(msgspec.msgpack.encode(part))
        if connection.poll():
            return


class Hunter:
    """A Hunt, and how much of it has been reported."""

    def __init__(self, order: Order) -> None:
        self.order = order
        models = Models()
        if order.diff:
            models = msgspec.structs.replace(changed_models(order.diff), allowed=frozenset(order.allowed))
        old, new = parse_semantics(order.old), parse_semantics(order.new)
        strategies = order.strategies or STRATEGIES
        self.search = Hunt(old, new, PROFILES[order.profile], models, strategies=strategies)
        self.batch = 0
        self.seed = order.seed
        self.counted: dict[str, int] = {}
        self.gains: dict[str, Gain] = {}
        self.programs = 0
        self.steps = 0
        self.points: set[int] = set()
        self.since = time.monotonic()

    def hunt(self, number: int, connection: Connection) -> Iterator[Part]:
        """The parts of one batch."""
        self.since = time.monotonic()
        seeds = self.order.batch(number)
        self.batch = number
        for seed in seeds:
            self.seed = seed
            fresh = self.search.one(seed)
            self.count(seed)
            stopped = connection.poll()
            if stopped or seed == seeds[-1]:
                yield self.part(number, last=True)
                return
            if fresh or time.monotonic() - self.since > _REPORT_SECONDS:
                yield self.part(number, last=False)

    def count(self, seed: int) -> None:
        """Note which findings the program of `seed` has shown."""
        for name, found in self.search.found.items():
            grown = found.count - self.counted.get(name, 0)
            if not grown:
                continue
            known = self.gains.get(name)
            if known is not None:
                more = msgspec.structs.replace(known.found, count=known.found.count + grown)
                self.gains[name] = msgspec.structs.replace(known, found=more)
            else:
                body = None if name in self.counted else found.reproducer
                seen = FoundFinding(found.finding, grown, seed, body)
                self.gains[name] = Gain(seen, found.operations, found.preemptions)
            self.counted[name] = found.count

    def last_word(self, hung: Hung) -> Part:
        """What has come since the last part, and that no more will."""
        again = f"--seed {self.seed} --programs 1 --jobs 1 does it again"
        failure = f"the model hangs in the program of seed {self.seed}, {hung}: no `yield`; {again}, findings are kept"
        return msgspec.structs.replace(self.part(self.batch, last=False), failure=failure)

    def part(self, number: int, *, last: bool) -> Part:
        """What has come since the last part."""
        now, search = time.monotonic(), self.search
        part = Part(
            batch=number,
            programs=search.programs - self.programs,
            steps=search.steps - self.steps,
            seconds=now - self.since,
            coverage=tuple(search.coverage.pairs - self.points),
            gains=tuple(self.gains.values()),
            last=last,
        )
        self.programs, self.steps, self.since = search.programs, search.steps, now
        self.points.update(part.coverage)
        self.gains = {}
        return part
