# SPDX-License-Identifier: GPL-2.0-only
"""Uniform choice among those that can run: no guarantee, the control arm."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.program.rng import Rng
from fuzzer.schedule.choices import Choices
from fuzzer.schedule.scheduler import Scheduler


class RandomWalk(Scheduler):
    """A coin for every turn."""

    def __init__(self, seed: i64) -> None:
        self.rng = Rng(seed)

    def pick(self, choices: Choices) -> i64:
        return choices.ready[self.rng.below(choices.n_ready)]
