# SPDX-License-Identifier: GPL-2.0-only
"""What a scheduler may look at: who can run, and where everybody stands."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.schedule.running_actor import RunningActor
from reference_mmu.points import PointTable


class Choices:
    """`ready`: the first `n_ready` are the actors that can run, ascending, as of the last find_ready(). `n_live`: how
    many have not finished. `points`: those of the architecture."""

    def __init__(self, actors: list[RunningActor], points: PointTable) -> None:
        self.actors = actors
        self.points = points
        self.n_live: i64 = len(self.live())
        self.ready: vec[i64] = vec[i64]([0] * len(actors))
        self.n_ready: i64 = 0

    def find_ready(self) -> i64:
        """Find those that can run; returns how many."""
        raise NotImplementedError

    def is_ready(self, actor: i64) -> bool:
        """Is the actor among those that the last find_ready() found?"""
        return any(self.ready[place] == actor for place in range(self.n_ready))

    def runnable(self) -> list[int]:
        """The actors that can run, as a list."""
        return [int(self.ready[place]) for place in range(self.find_ready())]

    def live(self) -> list[int]:
        """Actors with something left to do."""
        return [int(running.number) for running in self.actors if running.uid >= 0]
