# SPDX-License-Identifier: GPL-2.0-only
"""Schedulers, one file each; STRATEGIES names them."""

from __future__ import annotations

from typing import Final

from fuzzer.rng import Rng
from fuzzer.scheduler import Scheduler
from fuzzer.schedulers.burst import Burst
from fuzzer.schedulers.pct import Pct
from fuzzer.schedulers.random_walk import RandomWalk

STRATEGIES: Final = ("random-walk", "pct", "burst")


def make_scheduler(strategy: str, seed: int, actors: int) -> Scheduler:
    """The scheduler of that name; raises KeyError for an unknown one."""
    if strategy == "random-walk":
        return RandomWalk(seed)
    if strategy == "pct":
        return Pct(seed, actors)
    if strategy == "burst":
        return Burst(seed)
    raise KeyError(strategy)


def draw_strategy(seed: int, among: tuple[str, ...] = STRATEGIES) -> str:
    """The portfolio: each of the strategies gets an equal share of the seeds."""
    return among[Rng(seed ^ 0x5EED).below(len(among))]
