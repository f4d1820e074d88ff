# SPDX-License-Identifier: GPL-2.0-only
"""The operations that have no part in a finding are taken out, since what they do may save the other side."""

from __future__ import annotations

from collections.abc import Callable

from fuzzer.program.script import script_of
from fuzzer.run.compare import Comparison, by_turns
from fuzzer.run.effort import effort_of
from fuzzer.run.outcome import Outcome


def without_bystanders(
    comparison: Comparison, outcome: Outcome, sought: Callable[[Outcome], bool]
) -> tuple[Outcome, int]:
    """The run with so few operations that it shows what is sought and would not with any one less; with what that took,
    in turns. The last ones are tried first: most of what follows a violation is not needed for it."""
    effort, program = 0, outcome.pair.script.program()
    before: set[int] = set()
    while before != program.uids():
        before = program.uids()
        for uid in sorted(before, reverse=True):
            smaller = program.without(uid)
            turns = [turn for turn in outcome.turns if turn.uid != uid]
            tried = comparison.run_script(script_of(smaller), by_turns(turns))
            effort += effort_of(tried)
            if sought(tried):
                program, outcome = smaller, tried
    return outcome, effort
