# SPDX-License-Identifier: GPL-2.0-only
"""Uniform choice among those that can run: no guarantee, the control arm."""

from __future__ import annotations

from fuzzer.execute import Execution
from fuzzer.rng import Rng


class RandomWalk:
    """A coin for every turn."""

    def __init__(self, seed: int) -> None:
        self.rng = Rng(seed)

    def pick(self, runnable: list[int], execution: Execution) -> int:
        return runnable[self.rng.below(len(runnable))]
