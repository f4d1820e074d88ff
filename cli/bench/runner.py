# SPDX-License-Identifier: GPL-2.0-only
"""A process of the bench: does inside one checkout what the bench asks for, and says what it took.

    python cli/bench/runner.py DIRECTORY

runs the packages of DIRECTORY, which may be an older checkout without a bench. It reads requests from standard input,
one JSON object a line, and answers each with one line; `do` names the function of REQUESTS, the rest are its
arguments. All that depends on how a checkout is built is in this file.

Every arm, whatever drives the models, hands each finished run to the same Watch: what counts as a program, what as
found, and when the time is over is decided there and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Final

OWN_ROOT: Final = Path(__file__).resolve().parent.parent.parent
HUNT: Final = "hunt"
# Each a function of cli/bench/hypothesis_arms.py.
HYPOTHESIS_ARMS: Final = ("stateful", "given_both", "stateful_seeded", "given_seeded")


class Over(BaseException):
    """The measurement has ended. No Exception: Hypothesis takes those for a failed test and goes on with it."""


class Watch:
    """Counts the finished runs of an arm, and ends it after so many programs or seconds of processor time, or, if
    `side` is given, at the first run in which that side breaks an invariant that the other one keeps.

    A pair is a program that both models ended, so that they were judged and compared; a program that got stuck or hit
    the limit of steps is none.
    """

    def __init__(self, programs: int, seconds: float, side: str = "") -> None:
        self.programs_max = programs
        self.seconds_max = seconds
        self.side = side
        self.programs = 0
        self.pairs = 0
        self.steps = 0
        self.found = False
        self.began = processor_seconds()

    def __call__(self, outcome: Any) -> None:
        """Take a finished run. Raises Over."""
        self.programs += 1
        self.steps += outcome.steps
        self.pairs += not outcome.pair.truncated
        self.found = bool(self.side) and breaks(outcome, self.side)
        if self.found or self.programs >= self.programs_max or self.seconds() >= self.seconds_max:
            raise Over

    def seconds(self) -> float:
        """Seconds of processor time since this was made."""
        return processor_seconds() - self.began

    def answer(self) -> dict[str, Any]:
        seconds = self.seconds()
        counts = {"programs": self.programs, "pairs": self.pairs, "steps": self.steps}
        return {"seconds": seconds, "found": self.found, **counts}


Arm = Callable[[str, int, Callable[[Any], None]], None]


def breaks(outcome: Any, side: str) -> bool:
    """Does `side` break an invariant that the other side keeps?"""
    old, new = outcome.violations("old"), outcome.violations("new")
    return bool(old.keys() - new.keys() if side == "old" else new.keys() - old.keys())


def hunt(profile: str, seed: int, watch: Callable[[Any], None]) -> None:
    """The search of `mmufuzz run` without judgement and minimization, which the other arms do not have either."""
    searched = make_runner(profile)
    for number in count(seed):
        watch(searched.run(number).outcome)


def module(name: str) -> ModuleType:
    """A module of the directory, by its name here; older checkouts have the same module in no room of its package."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        package, *_, last = name.split(".")
        return import_module(f"{package}.{last}")


def make_runner(profile: str) -> Any:
    """What runs the program of a seed: in older checkouts a search itself does."""
    semantics = module("reference_mmu.changelog.semantics")
    profiles = module("fuzzer.program.profile").PROFILES
    try:
        make = import_module("fuzzer.seed_runner").SeedRunner
    except ModuleNotFoundError:
        make = import_module("fuzzer.hunt").Hunt
    # Older checkouts know one series only, and begin where that begins.
    old = getattr(semantics, "NO_STRUCT_PAGE", semantics.OLD)
    return make(old, semantics.NEW, profiles[profile])


# --- requests ----------------------------------------------------------------------------------------------------


def measure(arm: str, profile: str, seed: int, programs: int, seconds: float, side: str) -> dict[str, Any]:
    """Run an arm until its Watch ends it, and say what it did."""
    drive: Arm = hunt if arm == HUNT else getattr(import_module("cli.bench.hypothesis_arms"), arm)
    watch = Watch(programs, seconds, side)
    try:
        drive(profile, seed, watch)
    except Over:
        return watch.answer()
    raise AssertionError(f"{arm} ended by itself after {watch.programs} programs")


def digests(profile: str, first: int, programs: int) -> dict[str, Any]:
    """What each program showed, a digest for each of PARTS."""
    searched = make_runner(profile)
    return {"digests": [digest(searched.run(seed)) for seed in range(first, first + programs)]}


PARTS: Final = ("turns", "events", "violations", "facts", "effects")


def digest(trial: Any) -> list[str]:
    """A digest of each of PARTS, in plain values, so that it does not matter how a checkout holds them."""
    outcome = trial.outcome
    pair, sides = outcome.pair, (outcome.old, outcome.new)
    uids = range(trial.program.uid_limit())
    turns = [(int(t.actor), int(t.uid), int(t.point), int(t.occurrence)) for t in outcome.turns]
    ended = bool(pair.stuck), bool(pair.truncated), int(outcome.steps), int(pair.drift_turn)
    parts: tuple[object, ...] = (
        (turns, ended),
        [[events_of(side.m, uid) for uid in uids] for side in sides],
        [[violation(v) for _, v in sorted(side.judge.violations.items())] for side in sides],
        [sorted((effect, int(uid)) for effect, uid in side.judge.facts.items()) for side in sides],
        sorted((d.effect, int(d.uid)) for d in outcome.divergences),
    )
    return [hashlib.sha256(repr(part).encode()).hexdigest()[:12] for part in parts]


def violation(seen: Any) -> tuple[object, ...]:
    places = int(seen.uid), int(seen.point), int(seen.other_point), int(seen.step)
    return seen.invariant, *places, seen.detail


REQUESTS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"measure": measure, "digests": digests}


# --- what differs between checkouts: first how it is in newer ones ------------------------------------------------


def events_of(m: Any, uid: int) -> list[int]:
    """The events of an operation."""
    events: Iterable[int] = m.observed.events(uid) if hasattr(m, "observed") else m.events[uid]
    return [int(event) for event in events]


class Begun(Exception):
    """A pair was made, and is not to be run by whom it was made."""


def fresh_pair(comparison: Any, program: Any) -> Any:
    """A pair for somebody else to run, turn by turn."""
    pairs: list[Any] = []

    def keep(pair: Any) -> None:
        pairs.append(pair)
        raise Begun

    with suppress(Begun):
        comparison.run(program, keep)
    return pairs[0]


def outcome_of(comparison: Any, pair: Any) -> Any:
    """What came out of a pair that has been run: judged and compared."""
    outcome = module("fuzzer.run.compare").Outcome
    old_leads = comparison.leader == "old"
    return outcome(comparison, pair, old_leads) if hasattr(pair, "script") else outcome(comparison, pair)


def silent_models() -> Any:
    """The shipped model with an oracle that ignores every event: what a run costs without anybody watching."""
    model = module("fuzzer.run.model")
    oracle = import_module("reference_mmu.oracle").Oracle

    def make_machine(*arguments: Any) -> Any:
        machine = model.SHIPPED.machine(*arguments)
        machine.oracle = oracle()
        return machine

    silent = model.LoadedModel(make_machine, model.SHIPPED.start)
    return module("fuzzer.run.compare").Models(silent, silent)


def end(side: Any) -> None:
    """Ask the oracles of a machine what they ask when its program has ended."""
    if hasattr(side.judge, "m"):
        side.judge.finish()
    else:
        side.judge.finish(side.m)


# --- the process -------------------------------------------------------------------------------------------------


def processor_seconds() -> float:
    """Processor time of this process so far, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def stay_on_one_core() -> None:
    """All processes of a bench run on the same core, one at a time, so that none has a better one."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def choose_sources(directory: str) -> dict[str, Any]:
    """Import the packages of the directory from now on, and what it has not got, the arms, from here."""
    # The folder of this script, which holds no packages, is what Python puts first.
    sys.path[0] = directory
    # An editable install would find modules of its own checkout in packages of the directory that lack them.
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_EditableFinder"]
    sys.path.append(str(OWN_ROOT))
    chooser = import_module("fuzzer.compiled")
    state = chooser.use_compiled_core()
    # What the directory lacks may be found where mmufuzz is installed.
    files = (import_module("reference_mmu").__file__, chooser.__file__)
    sources = {str(Path(str(file)).resolve().parent.parent) for file in files}
    return {"compiled": state.compiled, "core": state.reason, "sources": sorted(sources)}


def main() -> None:
    stay_on_one_core()
    print(json.dumps(choose_sources(sys.argv[1])), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(REQUESTS[request.pop("do")](**request)), flush=True)


if __name__ == "__main__":
    main()
