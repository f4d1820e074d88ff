# SPDX-License-Identifier: GPL-2.0-only
"""Points of the architectures with a stage-2 table: a row for each constant, and ranks that follow the source."""

from types import ModuleType
from typing import Final

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.semantics import NEW, OLD, parse_semantics
from reference_mmu.loongarch import points as loongarch
from reference_mmu.mips import points as mips
from reference_mmu.points import HOST, MM, PointTable
from reference_mmu.riscv import points as riscv

TABLES: Final[dict[str, ModuleType]] = {"riscv": riscv, "loongarch": loongarch, "mips": mips}
ARCH = pytest.mark.parametrize("arch", TABLES)


def table_of(arch: str) -> PointTable:
    table = TABLES[arch].POINTS
    assert isinstance(table, PointTable)
    return table


@ARCH
@pytest.mark.parametrize("base", ["old", "new"])
def test_ranks_follow_the_source(arch: str, base: str) -> None:
    """As on x86. Most points of the table are passed by the programs of one profile, which leaves the host alone."""
    seen: set[int] = set()
    for seed in range(120):
        comparison = Comparison(
            OLD if base == "old" else NEW, parse_semantics(f"{base}+placebo-points"), "new" if seed % 2 else "old"
        )
        outcome = comparison.run(generate(seed, PROFILES[arch]), by_scheduler(draw_strategy(seed), seed))
        assert outcome.pair.drift_turn == -1, f"seed {seed}"
        seen.update(turn.point for turn in outcome.turns)
    assert len(seen) > len([point for point in table_of(arch).points if point not in (*MM, *HOST)]) * 3 // 4
