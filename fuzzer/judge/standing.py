# SPDX-License-Identifier: GPL-2.0-only
"""In what state two models differed in the middle of a run."""

from __future__ import annotations

from fuzzer.run.compare import Comparison, Outcome
from fuzzer.run.differential import compare_final
from fuzzer.run.drive import turn_by_turn
from fuzzer.run.lockstep import Pair
from reference_mmu.changelog.effects import Effect


def standing_effects(outcome: Outcome, turn: int) -> list[Effect]:
    """What compare_final() would have said when the turn of that number began, or rather after the last turn before it
    that took its actor to the same point in both models: else one may only be late. Nothing after a drift.

    Costs another run.
    """
    compared = outcome.comparison
    found: list[Effect] = []

    def watched(pair: Pair) -> None:
        old, new = (pair.leader, pair.follower) if compared.leader == "old" else (pair.follower, pair.leader)

        def look(actor: int) -> None:
            if pair.drift_turn < 0 and pair.leader.actors[actor].is_abreast(pair.follower.actors[actor]):
                found[:] = compare_final(old, new)

        pair.observer = look
        turn_by_turn(outcome.turns[:turn])(pair)
        pair.observer = None  # it leads back to the pair

    again = Comparison(compared.old, compared.new, compared.leader, compared.models)
    again.run_script(outcome.pair.script, watched)
    return found
