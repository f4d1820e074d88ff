# SPDX-License-Identifier: GPL-2.0-only
"""What a program showed, before anyone asked why: an effect at an operation, or an invariant broken by sides."""

from __future__ import annotations

from typing import Annotated, Final, assert_never

import msgspec

from fuzzer.judge.finding import Kind, Sides
from fuzzer.oracle.invariants import TORN
from fuzzer.program.script import Script
from fuzzer.run.divergence import WHOLE_RUN, Divergence
from fuzzer.run.outcome import Outcome
from reference_mmu.record import Record

Word = Annotated[str, msgspec.Meta(max_length=200)]

# How stored traces spell the sides.
_SIDES: Final[dict[Sides, str]] = {"old": "old", "new": "new", "both": "oldnew"}


class Breach(Record):
    """An invariant that a program broke, and on which sides."""

    invariant: str
    sides: Sides


Seen = Divergence | Breach
"""One thing that a program showed."""


class Trace(Record, forbid_unknown_fields=True):
    """What two programs have in common that showed the same in the same way. It is stored, and goes from worker to
    worker."""

    kind: Kind
    what: Word
    """The effect, or the broken invariant."""
    where: tuple[Word, ...]
    """What else tells two traces apart. Of an effect: kind of operation, who leads, MMU, paging, and the point at which
    the operation began to differ, or went on to when the two drifted apart. Of an invariant: sides, who leads, MMU."""

    def key(self) -> str:
        """A text that is equal for equal traces only."""
        return msgspec.json.encode(self).decode()


def seen_in(outcome: Outcome) -> list[Seen]:
    """What a program shows: effects, the first of each at every kind of operation, and broken invariants. Of a run that
    a flow tore, that alone."""
    old, new = outcome.violations("old"), outcome.violations("new")
    if not (outcome.divergences or old or new):
        return []
    torn = sorted(TORN & {*old, *new})
    if torn:
        return [breach_of(outcome, invariant) for invariant in torn]
    script = outcome.pair.script
    first: dict[tuple[str, str], Seen] = {}
    for divergence in outcome.divergences:
        first.setdefault((divergence.effect, operation_tag(script, divergence.uid)), divergence)
    return [*first.values(), *(breach_of(outcome, invariant) for invariant in sorted({*old, *new}))]


def breach_of(outcome: Outcome, invariant: str) -> Breach:
    """On which sides it was broken, which was so on one at least."""
    old, new = (invariant in outcome.violations("old")), (invariant in outcome.violations("new"))
    return Breach(invariant, "both" if old and new else "old" if old else "new")


def trace_of(outcome: Outcome, seen: Seen) -> Trace:
    """The trace that one of seen_in() leaves."""
    script, leader = outcome.pair.script, outcome.comparison.leader
    mmu = script.config.mmu_name
    match seen:
        case Divergence(effect, uid):
            tag, point = operation_tag(script, uid), differing_point(outcome, uid)
            return Trace("divergence", effect, (tag, leader, mmu, script.config.paging, point))
        case Breach(invariant, sides):
            return Trace("violation", invariant, (_SIDES[sides], leader, mmu))
        case _:
            assert_never(seen)


def differing_point(outcome: Outcome, uid: int) -> str:
    """The point at which an operation began to differ."""
    turns, since = outcome.pair.turns, outcome.pair.since(uid)
    names = outcome.old.points.names
    return (names[turns.point(since)] or "end") if since < len(turns) else "end-of-run"


def operation_tag(script: Script, uid: int) -> str:
    """The kind of an operation, e.g. "clear-flush-young"; "end-of-run" for WHOLE_RUN."""
    return "end-of-run" if uid == WHOLE_RUN else script.tag(uid)
