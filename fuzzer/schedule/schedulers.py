# SPDX-License-Identifier: GPL-2.0-only
"""The schedulers there are: this table is all that a new one has to be added to, beside its own file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fuzzer.program.rng import Rng, stream
from fuzzer.schedule.burst import Burst
from fuzzer.schedule.pct import Pct
from fuzzer.schedule.random_walk import RandomWalk
from fuzzer.schedule.scheduler import Scheduler

# By the name of the strategy: makes the scheduler of a seed for so many actors, and says to people what it is good for.
_SCHEDULERS: Final[dict[str, tuple[Callable[[int, int], Scheduler], str]]] = {
    "random-walk": (lambda seed, actors: RandomWalk(seed), "any actor at any turn"),
    "pct": (
        lambda seed, actors: Pct(seed, actors),
        "few switches at random places, the best chance at bugs that need one or two",
    ),
    "burst": (lambda seed, actors: Burst(seed), "long turns, as on a loaded host"),
}

STRATEGIES: Final[tuple[str, ...]] = tuple(_SCHEDULERS)
STRATEGY_WORDS: Final[dict[str, str]] = {strategy: words for strategy, (_, words) in _SCHEDULERS.items()}
"""Every strategy, for who chooses among them."""


def make_scheduler(strategy: str, seed: int, actors: int) -> Scheduler:
    """The scheduler of that name; raises KeyError for an unknown one."""
    make, _ = _SCHEDULERS[strategy]
    return make(seed, actors)


def draw_strategy(seed: int, among: tuple[str, ...] = STRATEGIES) -> str:
    """The portfolio: each of the strategies gets an equal share of the seeds."""
    return among[Rng(stream(seed, "strategy")).below(len(among))]
