# SPDX-License-Identifier: GPL-2.0-only
"""How two models differed in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fuzzer.run.compare import Comparison, Outcome
from fuzzer.run.differential import compare_final, compare_operation
from fuzzer.run.divergence import Divergence
from fuzzer.run.drive import turn_by_turn
from fuzzer.run.execute import Execution
from fuzzer.run.lockstep import Pair
from fuzzer.schedule.schedule import Turn
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
    effects: list[Effect] = []
    read: list[Effect] = []
    private: list[str] = []
    before: dict[int, list[Effect]] = {}  # what differed after the turn before of each who is in an operation

    def look(pair: Pair, actor: int) -> None:
        names = pair.leader.points.names
        apart = [one for one in pair.leader.actors if pair.leader_private.has(one.at)]
        private.extend(names[one.at] for one in apart if one.number != actor or len(pair.turns) == turn)
        if _is_comparable(pair, actor):
            read.extend(effect for effect in before.pop(actor, ()) if effect not in effects)
            effects[:] = compare_final(*_old_and_new(outcome, pair))
            if pair.leader.actors[actor].at != END:
                before[actor] = list(effects)

    _run_again(outcome, outcome.turns[:turn], look)
    return Standing(effects, read, list(dict.fromkeys(private)))


def came_up(outcome: Outcome, divergence: Divergence) -> int:
    """Number of the turn by which an operation first differed in that way, for one that had already differed in others;
    -1: never while both stood at the same point. Costs another run."""

    def differs(pair: Pair) -> bool:
        old, new = _old_and_new(outcome, pair)
        uid = divergence.uid
        return pair.turns.uid(-1) == uid and divergence.effect in compare_operation(old.m, new.m, uid)

    return _first_turn(outcome, differs)


def hosts_part(outcome: Outcome) -> int:
    """Number of the turn after which the process first mapped memory otherwise in the two: another page at an address,
    by another right or in another size. -1: never before the drift. Costs another run."""
    return _first_turn(outcome, lambda pair: not pair.leader.m.host.maps_like(pair.follower.m.host))


def _first_turn(outcome: Outcome, holds: Callable[[Pair], bool]) -> int:
    """Number of the first turn after which something holds where the two can be compared; -1 if it never does."""
    first: list[int] = []

    def look(pair: Pair, actor: int) -> None:
        if not first and _is_comparable(pair, actor) and holds(pair):
            first.append(len(pair.turns) - 1)

    _run_again(outcome, outcome.turns, look)
    return first[0] if first else -1


def _is_comparable(pair: Pair, actor: int) -> bool:
    """Did the last turn take the actor to the same point in both, before any drift?"""
    return pair.drift_turn < 0 and pair.leader.actors[actor].is_abreast(pair.follower.actors[actor])


def _old_and_new(outcome: Outcome, pair: Pair) -> tuple[Execution, Execution]:
    leads = outcome.comparison.leader == "old"
    return (pair.leader, pair.follower) if leads else (pair.follower, pair.leader)


def _run_again(outcome: Outcome, turns: list[Turn], look: Callable[[Pair, int], None]) -> None:
    """Run it again along these turns, and have a look at the two after each: at whoever has moved."""

    def watched(pair: Pair) -> None:
        pair.observer = lambda actor: look(pair, actor)
        turn_by_turn(turns)(pair)
        pair.observer = None  # it leads back to the pair

    compared = outcome.comparison
    again = Comparison(compared.old, compared.new, compared.leader, compared.models)
    again.run_script(outcome.pair.script, watched)
