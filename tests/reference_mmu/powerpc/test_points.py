# SPDX-License-Identifier: GPL-2.0-only
"""Points of powerpc: a row for each constant, and ranks that follow the source."""

from itertools import product

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.semantics import parse_semantics
from reference_mmu.points import HOST, MM
from reference_mmu.powerpc.points import POINTS


@pytest.mark.parametrize("base", ["old", "new"])
def test_ranks_follow_the_source(base: str) -> None:
    """As on x86. Most points of the table are passed by the programs of the profiles, which leave the host alone."""
    seen: set[int] = set()
    for profile, seed in product(["powerpc", "powerpc-pr", "powerpc-pr-log", "powerpc-uv", "e500"], range(30)):
        comparison = Comparison(
            parse_semantics(base), parse_semantics(f"{base}+placebo-points"), "new" if seed % 2 else "old"
        )
        outcome = comparison.run(generate(seed, PROFILES[profile]), by_scheduler(draw_strategy(seed), seed))
        assert outcome.pair.drift_turn == -1, f"{profile}, seed {seed}"
        seen.update(turn.point for turn in outcome.turns)
    assert len(seen) > len([point for point in POINTS.points if point not in (*MM, *HOST)]) * 3 // 4
