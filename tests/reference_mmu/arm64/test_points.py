# SPDX-License-Identifier: GPL-2.0-only
"""Points of arm64: a row for each constant, and ranks that follow the source."""

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.arm64.points import POINTS
from reference_mmu.changelog.semantics import NEW, OLD, parse_semantics


@pytest.mark.parametrize("base", ["old", "new"])
def test_ranks_follow_the_source(base: str) -> None:
    """As on x86. Most points of the table are passed by the programs of two profiles."""
    seen: set[int] = set()
    for seed in range(120):
        comparison = Comparison(
            OLD if base == "old" else NEW, parse_semantics(f"{base}+placebo-points"), "new" if seed % 2 else "old"
        )
        profile = PROFILES["arm64" if seed % 4 else "arm64-mte"]
        outcome = comparison.run(generate(seed, profile), by_scheduler(draw_strategy(seed), seed))
        assert outcome.pair.drift_turn == -1, f"seed {seed}"
        seen.update(turn.point for turn in outcome.turns)
    existing = [point for point in POINTS.points if point.exists(comparison.old.patches)]
    assert len(seen) > len(existing) * 3 // 4
