# SPDX-License-Identifier: GPL-2.0-only
"""What a search has found so far: added up from the parts, stored batch by batch, reproducers written at once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from cli.document import write_whole
from cli.order import Gain, Order, Part
from db.schema import SEVERITY
from db.store import Store
from fuzzer.judge.finding import BatchResult, Finding, Verdict, signature
from fuzzer.known_holes import hole_of_file
from fuzzer.reproducer import decode_reproducer

FAILURES: Final = frozenset({Verdict.REGRESSION, Verdict.UNEXPLAINED})


class Tallied(msgspec.Struct):
    """A signature as the whole search knows it."""

    finding: Finding
    count: int
    first_seed: int
    reproducer: Path | None
    operations: int
    preemptions: int
    size: int
    """Size of the reproducer in bytes."""
    minimized: bool = True
    """Is it the smallest story?"""
    known: str = ""
    """The known hole that it is, "" if it is none: see fuzzer/known_holes.py."""
    parts: tuple[str, ...] = ()
    """FILE:LINE of the parts of the user's change that cause it, if the change has several: see cli/parts.py."""

    def fails(self) -> bool:
        """Is it what a search is to fail for: a regression or something unexplained that nobody knows yet?"""
        return self.finding.verdict in FAILURES and not self.known

    def rank(self) -> tuple[int, ...]:
        """Sort key where several show the same: the more severe verdict comes first, then the smaller reproducer."""
        missing = self.reproducer is None
        size = self.operations, self.preemptions, self.size
        return -SEVERITY[self.finding.verdict], missing, not self.minimized, *size


class Tally:
    """Adds up the parts of one campaign. Raises StoreError and OSError as store and files do."""

    def __init__(self, store: Store, campaign: int, order: Order, folder: Path) -> None:
        self.store = store
        self.campaign = campaign
        self.order = order
        self.folder = folder
        self.programs = 0
        self.steps = 0
        self.coverage: set[int] = set()
        self.ran: set[int] = set()
        """Statements of the user's change that some program reached, by number."""
        self.findings: dict[str, Tallied] = {}
        self._open: dict[int, list[Part]] = {}

    def add(self, part: Part) -> list[Tallied]:
        """Take a part; returns the findings that are new."""
        self.programs += part.programs
        self.steps += part.steps
        self.coverage.update(part.coverage)
        self.ran.update(part.ran)
        fresh = [tallied for gain in part.gains for tallied in self._gain(gain)]
        self._open.setdefault(part.batch, []).append(part)
        if part.last:
            self._store(part.batch)
        return fresh

    def store_rest(self) -> None:
        """Store the batches that were broken off, as far as they came."""
        for batch in sorted(self._open):
            self._store(batch)

    def verdicts(self) -> dict[str, int]:
        """Signatures of each verdict."""
        counts = dict.fromkeys((str(verdict) for verdict in Verdict), 0)
        for tallied in self.findings.values():
            counts[str(tallied.finding.verdict)] += 1
        return counts

    def has_new_failure(self) -> bool:
        """Is there a regression, or something unexplained, that nobody knows yet?"""
        return any(one.fails() for one in self.findings.values())

    def has_new_regression(self) -> bool:
        """Is there one that nobody knows yet?"""
        return any(one.fails() and one.finding.verdict is Verdict.REGRESSION for one in self.findings.values())

    def _gain(self, gain: Gain) -> Iterator[Tallied]:
        """Merge one finding; yields it if it is new. A reproducer is written before anything else is done with it."""
        name, body = signature(gain.finding), gain.reproducer
        path = None if body is None else self.folder / file_name(name)
        offered = Tallied(
            gain.finding,
            gain.count,
            gain.first_seed,
            path,
            gain.operations,
            gain.preemptions,
            len(body or b""),
            gain.minimized,
            "" if body is None else hole_of_file(body, smallest=gain.minimized),
        )
        known = self.findings.get(name)
        shown = offered if known is None else min(known, offered, key=Tallied.rank)
        if shown is offered and path is not None and body is not None:
            write_whole(path, body)
        self.findings[name] = shown
        if known is None:
            yield shown
        else:
            shown.count = known.count + offered.count
            shown.first_seed = min(known.first_seed, offered.first_seed)

    def _store(self, number: int) -> None:
        parts = self._open.pop(number)
        gains = [gain for part in parts for gain in part.gains]
        self.store.record(
            BatchResult(
                campaign=self.campaign,
                number=number,
                seed_first=self.order.batch(number).start,
                programs=sum(part.programs for part in parts),
                steps=sum(part.steps for part in parts),
                seconds=sum(part.seconds for part in parts),
                coverage=len(self.coverage),
                findings=tuple(gain.found() for gain in gains if gain.count),
            )
        )
        for gain in gains:
            if gain.minimized and gain.reproducer is not None:
                self._store_smaller(gain, gain.reproducer)

    def _store_smaller(self, gain: Gain, body: bytes) -> None:
        """Store a minimized reproducer, and how small it is."""
        self.store.improve_reproducer(
            signature(gain.finding),
            body,
            gain.operations,
            gain.preemptions,
            decode_reproducer(body).digest,
            campaign=self.campaign,
            verdict=gain.finding.verdict,
        )


def file_name(signature: str) -> str:
    """A file name that needs no quoting anywhere."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", signature) + ".json"
