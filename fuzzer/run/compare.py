# SPDX-License-Identifier: GPL-2.0-only
"""A comparison: two semantics, who leads, and how the interleaving is chosen; and what came out of one."""

from __future__ import annotations

from fuzzer.program.program import Program
from fuzzer.program.script import Script, script_of
from fuzzer.run.compared import Compared, Models
from fuzzer.run.drive import Drive, by_scheduler, by_seed, by_switches, by_turns, leader_of
from fuzzer.run.lockstep import Pair
from fuzzer.run.outcome import Outcome
from fuzzer.run.side import Side

__all__ = [
    "Comparison",
    "Drive",
    "Models",
    "Outcome",
    "Side",
    "by_scheduler",
    "by_seed",
    "by_switches",
    "by_turns",
    "leader_of",
]


class Comparison(Compared):
    """What is compared, and how it is done."""

    def run(self, program: Program, drive: Drive) -> Outcome:
        """Run both in lockstep under the interleaving that `drive` makes of a fresh Pair."""
        return self.run_script(script_of(program), drive)

    def run_script(self, script: Script, drive: Drive) -> Outcome:
        """Run a program that is not written down; see run()."""
        models = (self.models.old, self.models.new)
        if self.leader == "old":
            pair = Pair(script, self.old, self.new, models)
        else:
            pair = Pair(script, self.new, self.old, (models[1], models[0]))
        drive(pair)
        return Outcome(self, pair, self.leader == "old")
