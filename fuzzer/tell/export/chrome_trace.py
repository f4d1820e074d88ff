# SPDX-License-Identifier: GPL-2.0-only
"""A replay in the Trace Event Format, which Perfetto and chrome://tracing open: a process per model, a thread per
actor, a slice per operation and in it one per turn.

Format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final, Literal

import msgspec

from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Side
from fuzzer.tell.export.envelope import REPLAY_COMMAND
from fuzzer.tell.export.trace_json import ReplayDocument
from fuzzer.tell.story import Cell, Row
from reference_mmu.record import Record

_TURN_MICROSECONDS: Final = 1000
"""How long a turn is drawn: turns have an order and no duration; a millisecond each reads well."""

_SIDES: Final[tuple[Side, Side]] = ("old", "new")


class Event(Record, omit_defaults=True):
    """One trace event. `ph` X: a slice of `dur` µs; i: an instant of scope `s`; M: a name of a process or thread."""

    name: str
    ph: Literal["X", "i", "M"]
    pid: int
    tid: int
    ts: int
    dur: int = 0
    s: str = ""
    args: dict[str, str | int] = msgspec.field(default_factory=dict)


class OtherData(Record):
    """What viewers show as metadata."""

    replay: str
    known: str
    reproducer: Reproducer


class ChromeTrace(Record, rename="camel"):
    """The file."""

    other_data: OtherData
    display_time_unit: Literal["ms"]
    trace_events: tuple[Event, ...]


def chrome_trace(trace: ReplayDocument) -> ChromeTrace:
    """The events of both models on one time line, so that a turn stands below the same turn of the other."""
    events: list[Event] = []
    for pid, side in enumerate(_SIDES, 1):
        events.append(Event("process_name", "M", pid, 0, 0, args={"name": side.upper()}))
        for tid, actor in enumerate(trace.actors, 1):
            events.append(Event("thread_name", "M", pid, tid, 0, args={"name": actor}))
        events.extend(_slices(trace, pid, side))
    if trace.first_difference >= 0:
        ts = trace.first_difference * _TURN_MICROSECONDS
        events.append(Event("first difference", "i", 2, 0, ts, s="g"))
    return ChromeTrace(OtherData(REPLAY_COMMAND, trace.known, trace.reproducer), "ms", tuple(events))


def encode_chrome_trace(trace: ChromeTrace) -> bytes:
    return msgspec.json.encode(trace) + b"\n"


def _slices(trace: ReplayDocument, pid: int, side: Side) -> Iterator[Event]:
    """Slices of operations, each cut where another actor runs: what lies between is not its time."""
    tids = {actor: tid for tid, actor in enumerate(trace.actors, 1)}
    numbered = list(enumerate(trace.rows))
    for (actor, operation), group in groupby(numbered, key=lambda item: (item[1].actor, item[1].operation)):
        turns = list(group)
        start, end = turns[0][0], turns[-1][0] + 1
        tid = tids.get(actor, 0)
        yield Event(operation, "X", pid, tid, start * _TURN_MICROSECONDS, (end - start) * _TURN_MICROSECONDS)
        for index, row in turns:
            yield from _turn(row, index, pid, tid, side)


def _turn(row: Row, index: int, pid: int, tid: int, side: Side) -> Iterator[Event]:
    cell: Cell = row.old if side == "old" else row.new
    ts = index * _TURN_MICROSECONDS
    args: dict[str, str | int] = {"turn": row.turn}
    if cell.place:
        args["place"] = cell.place
    args.update({str(number): text for number, text in enumerate(cell.seen, 1)})
    yield Event(cell.where, "X", pid, tid, ts, _TURN_MICROSECONDS, args=args)
    for text in cell.broken:
        yield Event(text, "i", pid, tid, ts, s="p")
