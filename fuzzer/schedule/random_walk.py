# SPDX-License-Identifier: GPL-2.0-only
"""Uniform choice among those that can run: no guarantee, the control arm."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.program.rng import Rng
from fuzzer.run.execute import Execution
from fuzzer.schedule.scheduler import Scheduler


class RandomWalk(Scheduler):
    """A coin for every turn."""

    def __init__(self, seed: i64) -> None:
        self.rng = Rng(seed)

    def pick(self, execution: Execution) -> i64:
        return execution.ready[self.rng.below(execution.n_ready)]
