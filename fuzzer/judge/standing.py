# SPDX-License-Identifier: GPL-2.0-only
"""How two models differed in the middle of a run."""

from __future__ import annotations

from typing import NamedTuple

from fuzzer.run.compare import Comparison, Outcome
from fuzzer.run.differential import compare_final
from fuzzer.run.drive import turn_by_turn
from fuzzer.run.lockstep import Pair
from reference_mmu.changelog.effects import Effect
from reference_mmu.points import END


class Standing(NamedTuple):
    """`effects`: what compare_final() says of the state. `read`: what it said when somebody had read it who went on
    when it was gone: a compare-and-swap then fails in one of the two alone, and a retry moves all that comes after it.
    `private`: points that the leader alone has, at which somebody stood while others went on, or stands: the follower
    may have gone on, and who comes in between comes later there."""

    effects: list[Effect]
    read: list[Effect]
    private: list[str]


def standing(outcome: Outcome, turn: int) -> Standing:
    """How the two differed when the turn of that number began. The state is that after the last turn before it that
    took its actor to the same point in both: else one may only be late. None is told after a drift.

    Costs another run.
    """
    compared = outcome.comparison
    effects: list[Effect] = []
    read: list[Effect] = []
    private: list[str] = []

    def watched(pair: Pair) -> None:
        old, new = (pair.leader, pair.follower) if compared.leader == "old" else (pair.follower, pair.leader)
        names = pair.leader.points.names
        before: dict[int, list[Effect]] = {}  # what differed after the turn before of each who is in an operation

        def look(actor: int) -> None:
            apart = [one for one in pair.leader.actors if pair.leader_private.has(one.at)]
            private.extend(names[one.at] for one in apart if one.number != actor or len(pair.turns) == turn)
            if pair.drift_turn < 0 and pair.leader.actors[actor].is_abreast(pair.follower.actors[actor]):
                read.extend(effect for effect in before.pop(actor, ()) if effect not in effects)
                effects[:] = compare_final(old, new)
                if pair.leader.actors[actor].at != END:
                    before[actor] = list(effects)

        pair.observer = look
        turn_by_turn(outcome.turns[:turn])(pair)
        pair.observer = None  # it leads back to the pair

    again = Comparison(compared.old, compared.new, compared.leader, compared.models)
    again.run_script(outcome.pair.script, watched)
    return Standing(effects, read, list(dict.fromkeys(private)))


def hosts_part(outcome: Outcome) -> int:
    """Number of the turn after which the process first mapped memory otherwise in the two: another page at an address,
    by another right or in another size. -1: never before the drift. Costs another run."""
    compared = outcome.comparison
    first: list[int] = []

    def watched(pair: Pair) -> None:
        old, new = pair.leader.m.host, pair.follower.m.host

        def look(actor: int) -> None:
            if first or pair.drift_turn >= 0 or not pair.leader.actors[actor].is_abreast(pair.follower.actors[actor]):
                return
            if not old.maps_like(new):
                first.append(len(pair.turns) - 1)

        pair.observer = look
        turn_by_turn(outcome.turns)(pair)
        pair.observer = None  # it leads back to the pair

    again = Comparison(compared.old, compared.new, compared.leader, compared.models)
    again.run_script(outcome.pair.script, watched)
    return first[0] if first else -1
