# SPDX-License-Identifier: GPL-2.0-only
"""A search in pieces that need not know of each other: run programs and note what they show; judge one; minimize one.

Each piece is a pure function of semantics, profile and seed, so anybody may do it again.  What a Hunt remembers between
programs, namely which traces have been judged and which causes have been minimized, is left to whoever puts the pieces
together; `is_judged` (in fuzzer.judge.docket) and `cause_name` are its rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from fuzzer.hunt import Found, Hunt, cause_of, judged, kind_of, minimized, seen_in, trace_of
from fuzzer.judge.finding import Finding, Seed, signature
from fuzzer.judge.verdict import Trial
from fuzzer.run.divergence import Divergence

Word = Annotated[str, msgspec.Meta(max_length=200)]


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a finding looks like before anyone asked why."""

    kind: Annotated[str, msgspec.Meta(pattern="^(divergence|violation)$")]
    what: Word
    """The effect, or the broken invariant."""
    where: tuple[Word, ...]
    """Operation or sides, who leads, MMU, paging, point: what else tells two traces apart."""

    def key(self) -> str:
        """A text that is equal for equal traces only."""
        return msgspec.json.encode(self).decode()


class Sighting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The programs of a batch that showed a trace, in the order in which they ran."""

    trace: Trace
    seeds: tuple[Seed, ...]


class LostSight(RuntimeError):
    """The program does not show the trace: another model, semantics or profile than those that saw it."""


class Gathering:
    """What programs show, trace by trace, as they run."""

    def __init__(self, hunt: Hunt) -> None:
        self._hunt = hunt
        self._shown: dict[Trace, list[int]] = {}

    def run(self, seed: int) -> tuple[Trace, ...]:
        """Run the program of `seed`; the traces that no program before it has shown."""
        trial = self._hunt.run(seed)
        fresh = []
        for what in seen_in(trial):
            name, *where = trace_of(trial, what)
            trace = Trace(kind_of(what), name, tuple(where))
            if trace not in self._shown:
                fresh.append(trace)
            self._shown.setdefault(trace, []).append(seed)
        return tuple(fresh)

    def sightings(self) -> tuple[Sighting, ...]:
        """Everything, in the order in which it first showed."""
        return tuple(Sighting(trace, tuple(seen)) for trace, seen in self._shown.items())


def sightings(hunt: Hunt, seeds: Iterable[int]) -> tuple[Sighting, ...]:
    """Run the programs of `seeds`; what they show, in the order in which it first showed."""
    gathering = Gathering(hunt)
    for seed in seeds:
        gathering.run(seed)
    return gathering.sightings()


def judge_sightings(hunt: Hunt, seed: int, traces: Iterable[Trace]) -> list[Finding]:
    """What causes what the program of `seed` shows, trace by trace, not minimized.  Raises LostSight.

    Together, because the traces of one program share most of the experiments.
    """
    trial = hunt.run(seed)
    return [judged(trial, shown(trial, trace)) for trace in traces]


def minimize_sighting(hunt: Hunt, seed: int, trace: Trace, finding: Finding) -> Found:
    """The smallest story of a finding that `judge_sightings` made of the same seed and trace.  Raises LostSight."""
    trial = hunt.run(seed)
    what = shown(trial, trace)
    if isinstance(what, Divergence):
        finding = trial.told(what, finding)
    return minimized(trial, finding, what, hunt.budget, seed)


def shown(trial: Trial, trace: Trace) -> Divergence | str:
    """What of a program it was that left the trace.  Raises LostSight."""
    for what in seen_in(trial):
        if trace_of(trial, what) == (trace.what, *trace.where):
            return what
    raise LostSight(f"the program does not show {trace.key()}")


def cause_name(finding: Finding) -> str:
    """A name that two judged findings share if only one of them need be minimized. Divergences share it with their
    signature, which minimization does not change; violations share it with their cause, since theirs does change."""
    parts = [*cause_of(finding), signature(finding) if finding.kind == "divergence" else ""]
    return msgspec.json.encode(parts).decode()
