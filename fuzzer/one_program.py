# SPDX-License-Identifier: GPL-2.0-only
"""A search with one program: many interleavings of it, judged and minimized like those of any search."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

import msgspec

from fuzzer.found import Found
from fuzzer.judge.finding import Finding, Verdict, signature
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Program
from fuzzer.program.script import Script, script_of
from fuzzer.reproducer import Reproducer, decode_reproducer
from fuzzer.seed_runner import SeedRunner
from fuzzer.sighting import Gathering, Sighting, cause_name, judge_sightings, minimize_sighting
from reference_mmu.changelog.semantics import NEW, OLD
from reference_mmu.record import Record
from reference_mmu.version import model_version

_MINIMIZATION: Final = 200
"""Executions for each minimization: a program that a person wrote is small already."""
_WORST_FIRST: Final = (
    *(Verdict.REGRESSION, Verdict.UNEXPLAINED, Verdict.BASELINE),
    *(Verdict.FIXED_SILENTLY, Verdict.FIXED, Verdict.DOCUMENTED),
)


class ShownBug(Record):
    """One bug that the program showed, in `count` of the schedules, in schedule `first` first. `reproducer` is None if
    there was no time to make one."""

    finding: Finding
    signature: str
    count: int
    first: int
    reproducer: Reproducer | None


class Searched(Record):
    """What came of a program: how many schedules were tried, and what they showed, the worst first. `unjudged` counts
    what was seen and not looked into for want of time."""

    program: Program
    old: str
    new: str
    model: str
    schedules: int
    steps: int
    shown: tuple[ShownBug, ...]
    unjudged: int


class _ScheduleRunner(SeedRunner):
    """Runs one program: its seeds choose the interleaving alone."""

    def __init__(self, program: Program) -> None:
        super().__init__(OLD, NEW, PROFILES["mixed"])
        self.script = script_of(program)

    def script_of(self, seed: int) -> Script:
        return self.script


def search_program(program: Program, schedules: int, go_on: Callable[[], bool]) -> Searched:
    """Run a program under at most so many schedules, half of them led by OLD and half by NEW.

    `go_on` is asked before every schedule, judgement and minimization: what it cuts off is counted, not hidden.
    """
    runner = _ScheduleRunner(program)
    gathering = Gathering(runner)
    for schedule in takewhile(lambda _: go_on(), range(schedules)):
        gathering.run(schedule)
    judged: dict[str, list[tuple[Finding, Sighting]]] = {}
    unjudged = 0
    for one in sorted(
        gathering.sightings(), key=lambda sighting: sighting.trace.kind, reverse=True
    ):  # violations first
        if not go_on():
            unjudged += 1
            continue
        (finding,) = judge_sightings(runner, one.seeds[0], [one.trace])
        judged.setdefault(cause_name(finding), []).append((finding, one))
    merged: dict[str, ShownBug] = {}
    for members in sorted(judged.values(), key=lambda members: _WORST_FIRST.index(members[0][0].verdict)):
        shown = _shown(runner, members, go_on())
        if shown.signature in merged:
            first = merged[shown.signature]
            shown = msgspec.structs.replace(first, count=first.count + shown.count)
        merged[shown.signature] = shown
    return Searched(
        program=program,
        old=OLD.spec(),
        new=NEW.spec(),
        model=model_version(),
        schedules=gathering.ground.programs,
        steps=gathering.ground.steps,
        shown=tuple(merged.values()),
        unjudged=unjudged,
    )


def _shown(runner: SeedRunner, members: list[tuple[Finding, Sighting]], in_time: bool) -> ShownBug:
    """What all findings of one cause come to."""
    finding, sighting = members[0]
    seed = sighting.seeds[0]
    found = Found(finding, 1, seed, None)
    if in_time:
        found = minimize_sighting(runner, seed, sighting.trace, finding, _MINIMIZATION)
    return ShownBug(
        finding=found.finding,
        signature=signature(found.finding),
        count=sum(len(one.seeds) for _, one in members),
        first=min(one.seeds[0] for _, one in members),
        reproducer=None if found.reproducer is None else decode_reproducer(found.reproducer),
    )
