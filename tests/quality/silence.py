# SPDX-License-Identifier: GPL-2.0-only
"""Where nothing differs nothing may be reported: OLD against OLD, NEW against NEW, and against a placebo that only adds
preemption points.

    python -m tests.quality.silence --programs 100000

prints a line per comparison and exits with 1 if there was any divergence, any drift, or a violation on one side alone.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final, NamedTuple

from fuzzer.compare import Comparison, by_scheduler
from fuzzer.compiled import use_compiled_core
from fuzzer.generate import generate
from fuzzer.profile import PROFILES
from fuzzer.schedulers import draw_strategy
from reference_mmu.semantics import parse_semantics

_DISTINCT_SEEDS: Final = 0x6A09E667
PAIRS: Final = (("old", "old"), ("new", "new"), ("old", "old+placebo-points"), ("new", "new+placebo-points"))


class Noise(NamedTuple):
    """How many programs showed what none may show, and the first seed of each kind, -1 for none."""

    divergences: int
    drifts: int
    one_sided: int
    first_seed: int


def listen(old: str, new: str, programs: int, first_seed: int) -> Noise:
    """Run `programs` programs, all profiles and both leaders in turn."""
    semantics = parse_semantics(old), parse_semantics(new)
    profiles = list(PROFILES.values())
    divergences = drifts = one_sided = 0
    noisy = -1
    for seed in range(first_seed, first_seed + programs):
        comparison = Comparison(*semantics, "old" if seed % 2 else "new")
        program = generate(seed, profiles[seed // 2 % len(profiles)])
        outcome = comparison.run(program, by_scheduler(draw_strategy(seed), seed ^ _DISTINCT_SEEDS))
        found = bool(outcome.divergences)
        drifted = outcome.pair.drift_turn >= 0
        differ = set(outcome.violations("old")) != set(outcome.violations("new"))
        divergences, drifts, one_sided = divergences + found, drifts + drifted, one_sided + differ
        if noisy < 0 and (found or drifted or differ):
            noisy = seed
    return Noise(divergences, drifts, one_sided, noisy)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000, help="of each comparison")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    print(f"core {use_compiled_core().reason}; {wanted.programs} programs of {len(PROFILES)} profiles each")
    loud = False
    for old, new in PAIRS:
        noise = listen(old, new, wanted.programs, wanted.seed)
        first = "" if noise.first_seed < 0 else f", first seed {noise.first_seed}"
        print(
            f"{old} against {new}: {noise.divergences} with divergences, {noise.drifts} drifted, "
            f"{noise.one_sided} with a violation on one side alone{first}",
            flush=True,
        )
        loud = loud or noise.first_seed >= 0
    return int(loud)


if __name__ == "__main__":
    sys.exit(main())
