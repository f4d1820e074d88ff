# SPDX-License-Identifier: GPL-2.0-only
"""Where the processor time of a search goes, stage by stage."""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from sqlalchemy import Engine

from cli.bench.runner import end, outcome_of, silent_models
from cli.hunting import Hunter
from cli.order import BATCH_PROGRAMS, Order, Part
from cli.tally import Tally
from db.campaigns import new_campaign
from db.session import open_database
from db.store import Store
from fuzzer.hunt import Hunt
from fuzzer.program.profile import PROFILES
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW, NO_STRUCT_PAGE
from reference_mmu.record import Record

STAGES: Final = {
    "generation": "a program is made from its seed",
    "model": "OLD and NEW run it in lockstep",
    "oracles": "each run is watched for broken invariants",
    "comparison": "what the two did differently is put into words",
    "judgement": "what is new is attributed, judged and shrunk to its smallest story",
    "storage": "findings and counts are written to the database and to files",
}

_Made = TypeVar("_Made")


class Share(Record):
    """One stage: seconds of processor time, and percent of all."""

    stage: str
    about: str
    seconds: float
    percent: float


class Shares(Record):
    """All stages of a search over `programs` programs."""

    programs: int
    workload: str
    seconds: float
    shares: tuple[Share, ...]


class Clock:
    """Adds up processor time by what it was spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, what: str, work: Callable[[], _Made]) -> _Made:
        began = time.process_time()
        made = work()
        self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - began
        return made


def stages(programs: int, seed: int, workload: str) -> Iterator[Shares]:
    """The shares after every batch of a search that writes into a folder of its own."""
    search = SearchSpec(old="old", new="new", profile=workload, seed=seed)
    order = Order(search, programs, BATCH_PROGRAMS, 1)
    hunter = Hunter(order)
    watched = SeedRunner(NO_STRUCT_PAGE, NEW, PROFILES[workload])
    silent = SeedRunner(NO_STRUCT_PAGE, NEW, PROFILES[workload], silent_models())
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as name:
        engine = open_database(f"sqlite:///{Path(name, 'bench.db')}")
        tally = make_tally(order, engine, Path(name))
        for number in takewhile(order.batch, count()):
            seeds = order.batch(number)
            clock.timed("run", partial(run_all, watched, seeds))
            clock.timed("silent run", partial(run_all, silent, seeds))
            for program in seeds:
                take_apart(clock, hunter.search, silent, program)
            if not order.batch(number + 1):
                clock.timed("judgement", partial(list, hunter.search.settle()))
            clock.timed("storage", partial(store_batch, tally, hunter, number))
            yield shares_of(clock.seconds, tally.programs, workload)
        engine.dispose()


def run_all(runner: SeedRunner, seeds: range) -> None:
    for seed in seeds:
        runner.run(seed)


def take_apart(clock: Clock, search: Hunt, silent: SeedRunner, seed: int) -> None:
    """What a run consists of, each by itself, and what follows it."""
    clock.timed("generation", partial(search.runner.script_of, seed))
    unwatched = silent.run(seed).outcome
    # At the end oracles are asked even if nobody told them anything.
    for side in (unwatched.old, unwatched.new):
        clock.timed("silent end", partial(end, side))
    trial = search.run(seed)
    clock.timed("comparison", partial(outcome_of, trial.comparison, trial.outcome.pair))
    clock.timed("judgement", partial(search.judge, seed, trial))


def shares_of(measured: dict[str, float], programs: int, workload: str) -> Shares:
    """`measured` has the run as a whole and without oracles; generation and comparison are part of both."""
    run = measured["run"]
    silent = min(measured["silent run"] - measured["silent end"], run)
    model = max(0.0, silent - measured["generation"] - measured["comparison"])
    seconds = {"model": model, "oracles": run - silent}
    seconds |= {stage: measured[stage] for stage in ("generation", "comparison", "judgement", "storage")}
    whole = sum(seconds.values())
    shares = tuple(Share(stage, about, seconds[stage], 100 * seconds[stage] / whole) for stage, about in STAGES.items())
    return Shares(programs, workload, whole, shares)


def store_batch(tally: Tally, hunter: Hunter, number: int) -> None:
    """A batch on its way from a search process through a pipe to the one that stores."""
    sent = msgspec.msgpack.encode(hunter.part(number, last=True))
    tally.add(msgspec.msgpack.decode(sent, type=Part))


def make_tally(order: Order, engine: Engine, folder: Path) -> Tally:
    """With a campaign, as `mmufuzz run` makes one."""
    store = Store(engine)
    searched = new_campaign(order.search, name="bench", budget_programs=order.programs)
    return Tally(store, store.create_campaign(searched), order, folder)
