# SPDX-License-Identifier: GPL-2.0-only
"""From a seed to a run of both models: what a search repeats, and all that a fleet has to agree on."""

from __future__ import annotations

import msgspec

from fuzzer.judge.verdict import Trial
from fuzzer.program.blend import profile_named
from fuzzer.program.generate import generate_script
from fuzzer.program.profile import Profile
from fuzzer.program.program import Program
from fuzzer.program.script import Script
from fuzzer.run.compare import Comparison, Models, Side, by_seed, leader_of
from fuzzer.run.coverage import Coverage
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedulers import STRATEGIES
from fuzzer.search_spec import SearchSpec
from reference_mmu.changelog.semantics import Semantics, parse_semantics


class SeedRunner:
    """Runs programs on two models. It remembers nothing: what a seed shows depends on the seed alone.

    Programs alternate who leads, so that windows which exist in only one of the models are explored in both.
    """

    def __init__(
        self,
        old: Semantics,
        new: Semantics,
        profile: Profile,
        models: Models | None = None,
        strategies: tuple[str, ...] = STRATEGIES,
    ) -> None:
        models = models or Models()
        self.by_leader: dict[Side, Comparison] = {
            "old": Comparison(old, new, "old", models),
            "new": Comparison(old, new, "new", models),
        }
        self.profile = profile
        self.strategies = strategies

    def script_of(self, seed: int) -> Script:
        """The program that belongs to a seed."""
        return generate_script(seed, self.profile)

    def program_of(self, seed: int) -> Program:
        """The program that belongs to a seed, written down."""
        return self.script_of(seed).program()

    def run(self, seed: int) -> Trial:
        """Run the program of `seed` on both models."""
        script = self.script_of(seed)
        comparison = self.by_leader[leader_of(seed)]
        drive = by_seed(seed, self.strategies)
        return Trial(comparison, drive, comparison.run_script(script, drive))


def runner_of(search: SearchSpec, models: Models | None = None) -> SeedRunner:
    """What runs the programs of a search. Raises UnknownPatch and UnknownProfile."""
    old, new = parse_semantics(search.old), parse_semantics(search.new)
    return SeedRunner(old, new, profile_named(search.profile), models, search.strategies or STRATEGIES)


def spelled_out(search: SearchSpec) -> SearchSpec:
    """A search with the strategies named that it has if none are: what people are told."""
    return msgspec.structs.replace(search, strategies=search.strategies or STRATEGIES)


class Ground:
    """How much has been searched: programs run, turns of both models, and which interleavings were met."""

    def __init__(self) -> None:
        self.programs = 0
        self.steps = 0
        self.coverage = Coverage()

    def add(self, outcome: Outcome) -> None:
        """One more program."""
        self.programs += 1
        self.steps += outcome.steps
        self.coverage.add(outcome.pair.turns)
