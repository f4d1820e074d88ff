# SPDX-License-Identifier: GPL-2.0-only
"""Everything a replay shows as one JSON document: the rows of the story and the state of both models at each."""

from __future__ import annotations

import msgspec

from fuzzer.known_holes import hole_of
from fuzzer.program.program import Program
from fuzzer.program.words import actor_names
from fuzzer.recheck import Recheck, recheck
from fuzzer.reproducer import Reproducer
from fuzzer.run.outcome import Outcome
from fuzzer.tell.export.envelope import REPLAY_COMMAND
from fuzzer.tell.film import Frame, film
from fuzzer.tell.story import Row, first_difference, tell
from reference_mmu.record import Record


class ReplayDocument(Record):
    """A replay. `actors` are the lanes; `first_difference` is the index in `rows` of the first row in which the models
    differ, -1 if none; `frames` has one more than `rows`, see fuzzer.tell.film, or none if the machine is too large.
    `known` is the known hole that the finding is, "" if it is none."""

    replay: str
    reproducer: Reproducer
    recheck: Recheck
    actors: tuple[str, ...]
    first_difference: int
    rows: tuple[Row, ...]
    frames: tuple[Frame, ...]
    known: str = ""


def make_document(reproducer: Reproducer) -> ReplayDocument:
    """Replay and note everything. Raises ReproducerError."""
    comparison, scenario = reproducer.comparison(), reproducer.scenario()
    outcome: Outcome
    outcome, rows = tell(comparison, scenario)
    program: Program = scenario.program
    return ReplayDocument(
        replay=REPLAY_COMMAND,
        reproducer=reproducer,
        recheck=recheck(reproducer, outcome),
        actors=tuple(actor_names(program)),
        first_difference=first_difference(rows),
        rows=tuple(rows),
        frames=film(comparison, scenario),
        known=hole_of(reproducer),
    )


def encode_document(trace: ReplayDocument) -> bytes:
    return msgspec.json.encode(trace) + b"\n"
