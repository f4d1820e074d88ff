# SPDX-License-Identifier: GPL-2.0-only
"""Runs of two semantics that must not differ."""

from __future__ import annotations

from typing import Final, NamedTuple

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.program.rng import stream
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.semantics import parse_semantics

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
        outcome = comparison.run(program, by_scheduler(draw_strategy(seed), stream(seed, "noise")))
        found = bool(outcome.divergences)
        drifted = outcome.pair.drift_turn >= 0
        differ = set(outcome.violations("old")) != set(outcome.violations("new"))
        divergences, drifts, one_sided = divergences + found, drifts + drifted, one_sided + differ
        if noisy < 0 and (found or drifted or differ):
            noisy = seed
    return Noise(divergences, drifts, one_sided, noisy)
