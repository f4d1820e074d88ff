# SPDX-License-Identifier: GPL-2.0-only
"""Processor time to the first detection of each planted bug, by every arm, from the same seeds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from cli.bench.bugs import BUGS, Bug, number_of
from cli.bench.planted import VARIABLE
from cli.bench.process import ArmProcess
from cli.bench.speed import NO_LIMIT, SEEDS_APART, rotated
from cli.bench.spread import Censored, censored, geometric_mean
from reference_mmu.record import Record


class Attempt(Record):
    """One search for one bug; `found` is false where it was cut off."""

    bug: str
    name: str
    seed: int
    seconds: float
    programs: int
    found: bool


class Detection(Record):
    """What an arm took for a bug. `ratio`: its mean time over that of the first arm, None if the first arm has not
    found the bug; at least that if `time.at_least`."""

    name: str
    time: Censored
    programs: int
    ratio: float | None


class BugTimes(Record):
    """A bug and how long each arm took for it."""

    bug: str
    about: str
    origin: str
    arms: tuple[Detection, ...]


class Overall(Record):
    """An arm over all bugs: the geometric mean of its ratios, the least of them and whose it is. Ratios of which only
    a lower bound is known count as that bound; `at_least`: how many those are, `without`: how many bugs have none."""

    name: str
    geometric_mean: float
    worst: float
    worst_bug: str
    bugs: int
    at_least: int
    without: int
    attempts: int
    censored: int


def search_for_bugs(
    copy: Path, bugs: Sequence[Bug], arms: Mapping[str, str], seeds: int, seed: int, limit: float, workload: str
) -> Iterator[Attempt]:
    """Every arm (its name -> a function of cli/bench/runner.py or hypothesis_arms.py) searches for every bug from
    `seeds` seeds, for `limit` seconds at most; arms take turns, bug after bug."""
    for bug in bugs:
        with ExitStack() as stack:
            variables = {VARIABLE: str(number_of(bug))}
            processes = {name: stack.enter_context(ArmProcess(copy, variables)) for name in arms}
            for name, process in processes.items():
                process.ask("measure", arm=arms[name], profile=workload, seed=0, programs=5, seconds=5, side="")
            for number in range(seeds):
                for name, process in rotated(list(processes.items()), number):
                    yield attempt(process, name, arms[name], bug, seed + number * SEEDS_APART, limit, workload)


def attempt(process: ArmProcess, name: str, arm: str, bug: Bug, seed: int, limit: float, workload: str) -> Attempt:
    answer = process.ask(
        "measure", arm=arm, profile=workload, seed=seed, programs=NO_LIMIT, seconds=limit, side=bug.side
    )
    return Attempt(bug.name, name, seed, answer["seconds"], answer["programs"], answer["found"])


def bug_times(attempts: Sequence[Attempt], first: str) -> list[BugTimes]:
    """What the attempts say of each bug, as far as they have come; `first` is the arm that the others are held
    against."""
    found = []
    for bug in BUGS:
        own = [one for one in attempts if one.bug == bug.name]
        if any(one.name == first for one in own):
            arms = tuple(_detection(own, name, first) for name in dict.fromkeys(one.name for one in own))
            found.append(BugTimes(bug.name, bug.about, bug.origin, arms))
    return found


def _detection(attempts: Sequence[Attempt], name: str, first: str) -> Detection:
    time, of_first = time_of(attempts, name), time_of(attempts, first)
    programs = sum(one.programs for one in attempts if one.name == name)
    return Detection(name, time, programs, None if of_first.at_least else time.mean / of_first.mean)


def time_of(attempts: Sequence[Attempt], name: str) -> Censored:
    return censored([(one.seconds, one.found) for one in attempts if one.name == name])


def overall(bugs: Sequence[BugTimes], groups: Mapping[str, Sequence[str]]) -> list[Overall]:
    """Over all bugs, for each group of arms by its name: of a group the arm that is best at the bug counts."""
    return [summed for name, arms in groups.items() if (summed := _overall(bugs, name, arms)) is not None]


def _overall(bugs: Sequence[BugTimes], name: str, arms: Sequence[str]) -> Overall | None:
    best: dict[str, Detection] = {}
    for bug in bugs:
        of_group = [one for one in bug.arms if one.name in arms and one.ratio is not None]
        if of_group:
            best[bug.bug] = min(of_group, key=lambda one: one.ratio or 0.0)
    if not best:
        return None
    ratios = {bug: one.ratio or 0.0 for bug, one in best.items()}
    worst = min(ratios, key=lambda bug: ratios[bug])
    everything = [one.time for bug in bugs for one in bug.arms if one.name in arms]
    return Overall(
        name=name,
        geometric_mean=geometric_mean(list(ratios.values())),
        worst=ratios[worst],
        worst_bug=worst,
        bugs=len(best),
        at_least=sum(one.time.at_least for one in best.values()),
        without=len(bugs) - len(best),
        attempts=sum(time.events + time.censored for time in everything),
        censored=sum(time.censored for time in everything),
    )
