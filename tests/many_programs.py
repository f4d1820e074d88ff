# SPDX-License-Identifier: GPL-2.0-only
"""What programs of all sorts show: for telling two models apart."""

from typing import Final

from fuzzer.reproducer import trace_digest
from fuzzer.run.compare import Models
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import runner_of

PROGRAMS: Final = 24


def digests(models: Models) -> list[str]:
    """What programs of all profiles show."""
    runner = runner_of(SearchSpec(old="old", new="new", profile="mixed", seed=0), models)
    return [trace_digest(runner.run(seed).outcome) for seed in range(PROGRAMS)]
