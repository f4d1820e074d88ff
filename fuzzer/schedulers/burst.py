# SPDX-License-Identifier: GPL-2.0-only
"""Long uninterrupted runs with few switches: most windows need one or two preemptions at the right point, and a
random walk rarely lets another CPU finish a whole operation inside one."""

from __future__ import annotations

from fuzzer.execute import Execution
from fuzzer.rng import Rng
from reference_mmu.points import FAULT_RETRY


class Burst:
    """Keeps the running actor with probability 1 - 1/period; the period is drawn once, 3 to 34 turns."""

    def __init__(self, seed: int) -> None:
        self.rng = Rng(seed)
        self.period = 3 + self.rng.below(32)
        self.running = -1

    def pick(self, runnable: list[int], execution: Execution) -> int:
        if self.running in runnable and execution.at[self.running] != FAULT_RETRY and self.rng.below(self.period) != 0:
            return self.running
        self.running = runnable[self.rng.below(len(runnable))]
        return self.running
