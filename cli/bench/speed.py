# SPDX-License-Identifier: GPL-2.0-only
"""How many steps, programs and pairs per second of processor time: arms that take turns on one core."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from cli.bench.process import ArmProcess
from cli.bench.runner import HUNT
from cli.bench.spread import Spread, ratios, spread
from reference_mmu.record import Record

# Seeds of different repetitions are so far apart that no program is run twice.
SEEDS_APART: Final = 1_000_000
NO_LIMIT: Final = 10**12

_Item = TypeVar("_Item")


class Runner(Record):
    """A process, and what drives the models in it."""

    process: ArmProcess
    arm: str


class Sample(Record):
    """One measurement."""

    name: str
    workload: str
    repetition: int
    seconds: float
    programs: int
    pairs: int
    steps: int


class Speed(Record):
    """What an arm did in a second of processor time, and how many times the steps of the first arm that is, repetition
    by repetition."""

    name: str
    workload: str
    steps_per_second: Spread
    programs_per_second: Spread
    pairs_per_second: Spread
    ratio: Spread
    samples: int


def take_turns(
    runners: Mapping[str, Runner],
    workloads: Sequence[str],
    repetitions: int,
    seed: int,
    programs: int = NO_LIMIT,
    seconds: float = float(NO_LIMIT),
) -> Iterator[Sample]:
    """Measure every arm on every workload, again and again; who begins changes from one repetition to the next. A
    measurement ends after so many programs or seconds. One before them all, which does not count, loads what is loaded
    on first use."""
    for runner in runners.values():
        runner.process.ask("measure", arm=runner.arm, profile=workloads[0], seed=0, programs=5, seconds=5, side="")
    for repetition in range(repetitions):
        for workload in workloads:
            for name, runner in rotated(list(runners.items()), repetition):
                answer = runner.process.ask(
                    "measure",
                    arm=runner.arm,
                    profile=workload,
                    seed=seed + repetition * SEEDS_APART,
                    programs=programs,
                    seconds=seconds,
                    side="",
                )
                counts = {key: answer[key] for key in ("seconds", "programs", "pairs", "steps")}
                yield Sample(name=name, workload=workload, repetition=repetition, **counts)


def rotated(items: list[_Item], by: int) -> list[_Item]:
    """The items from the one at `by` on, then those before it: nobody always runs behind the same other one."""
    place = by % len(items)
    return items[place:] + items[:place]


def speeds(samples: Sequence[Sample], first: str) -> list[Speed]:
    """What the samples say of each arm and workload, as far as they have come; `first` is what the others are held
    against. Repetitions that `first` or the other one has not ended are left out."""
    by_place = {(s.name, s.workload, s.repetition): s for s in samples}
    found = []
    for name, workload in dict.fromkeys((sample.name, sample.workload) for sample in samples):
        repetitions = sorted({s.repetition for s in samples})
        both = [r for r in repetitions if (name, workload, r) in by_place and (first, workload, r) in by_place]
        if both:
            own = [by_place[name, workload, r] for r in both]
            found.append(_speed(own, [by_place[first, workload, r] for r in both]))
    return found


def _speed(own: list[Sample], other: list[Sample]) -> Speed:
    steps = [sample.steps / sample.seconds for sample in own]
    return Speed(
        name=own[0].name,
        workload=own[0].workload,
        steps_per_second=spread(steps),
        programs_per_second=spread([sample.programs / sample.seconds for sample in own]),
        pairs_per_second=spread([sample.pairs / sample.seconds for sample in own]),
        ratio=ratios(steps, [sample.steps / sample.seconds for sample in other]),
        samples=len(own),
    )


def hunting(process: ArmProcess) -> Runner:
    """The search itself."""
    return Runner(process, HUNT)
