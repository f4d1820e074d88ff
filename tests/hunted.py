# SPDX-License-Identifier: GPL-2.0-only
"""One search, OLD against NEW, that several tests look at: made once per process, some ten seconds interpreted."""

from functools import cache

from fuzzer.found import Found
from fuzzer.hunt import Hunt
from fuzzer.program.profile import PROFILES
from fuzzer.reproducer import Reproducer, decode_reproducer
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD

SEEDS = range(160)
STRATEGIES = ("random-walk", "pct", "burst")  # named, as what a seed shows depends on which there are to draw from


@cache
def hunted() -> Hunt:
    """The search after the programs of SEEDS."""
    hunt = Hunt(SeedRunner(OLD, NEW, PROFILES["mixed"], strategies=STRATEGIES))
    for seed in SEEDS:
        hunt.one(seed)
    return hunt


def all_found() -> list[Found]:
    return list(hunted().found.values())


def reproducer_of(found: Found) -> Reproducer:
    assert found.reproducer is not None
    return decode_reproducer(found.reproducer)
