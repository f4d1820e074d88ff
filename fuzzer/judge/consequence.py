# SPDX-License-Identifier: GPL-2.0-only
"""What an effect that no message lists is by what came before it, and which one that a message excludes is not the
commit's doing after all.

A commit message tells what its change does, not what becomes of it: a guest access that hits the TLB, since a flush is
gone, meets everything that comes later in another order. So in the run with only these patches between the two sides,
an effect is a consequence if one that they allow, and none that they forbid, came at an earlier turn, or was there in
the state, or in what somebody had read of it who had to retry; or if somebody stood at a point that the leader has
because of them, so that others came in between. What comes after one that they forbid is a part of that regression.

Two causes excuse what is forbidden or never a mere matter of timing, too, because they say exactly what differs:

- An operation that one side refuses, as announced, has not been done there. What it would have written is not in
  memory, and nobody reads it; what it would have mapped, or to other uses, is mapped as before. A prefetch that loses
  its compare-and-swap is not repeated, and so not done either.
- Where the process maps memory otherwise, as announced, KVM maps what the process has: other pages, rights and levels,
  and all that follows from these.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Verdict
from fuzzer.judge.seen import operation_tag
from fuzzer.judge.standing import came_up, hosts_part, standing
from fuzzer.run.compared import Compared
from fuzzer.run.differential import contents_of_both, stamps_read
from fuzzer.run.divergence import WHOLE_RUN, Divergence
from fuzzer.run.outcome import Outcome
from reference_mmu.changelog.effects import CONTENTS, EXCUSED_BY_MISHAPS, GIVEN_UP, NEVER_CONSEQUENCES, REFUSALS
from reference_mmu.changelog.patches import PATCHES, PLACEBOS

_HOST: Final = "host-pages-differ (before it)"


def announced(patches: tuple[str, ...], comparison: Compared) -> tuple[set[str], set[str]]:
    """The effects that one of the patches allows, and those that one forbids.  Only a patch that NEW has announces
    anything: no message says what taking a commit away may do."""
    allowed: set[str] = set()
    forbidden: set[str] = set()
    for patch in patches:
        if patch == OWN_CHANGE:
            allowed.update(comparison.models.allowed)
        elif patch in comparison.new.patches and patch in PLACEBOS:
            allowed.update(PLACEBOS[patch])
        elif patch in comparison.new.patches:
            allowed.update(PATCHES[patch].allowed)
            forbidden.update(PATCHES[patch].forbidden)
    return allowed, forbidden


def consequence_of(divergence: Divergence, patches: tuple[str, ...], alone: Outcome) -> tuple[Verdict, str]:
    """Documented or a regression, and what a divergence follows from; unexplained, and "", if it follows from nothing.
    `alone`: the run with only these patches between the two sides, where it may be another operation that shows the
    effect first."""
    unexplained = Verdict.UNEXPLAINED, ""
    run = _Alone(patches, alone)
    effect = divergence.effect
    shown = [d for d in alone.divergences if d.effect == effect]
    if not shown:
        return unexplained
    since = min(alone.pair.since(d.uid) for d in shown)
    earlier = sorted(
        (d for d in alone.divergences if alone.pair.since(d.uid) < since), key=lambda d: alone.pair.since(d.uid)
    )
    causes = [d for d in earlier if d.effect in run.allowed or d.effect in run.blamed]
    needs_excuse = effect in run.excluded or any(run.is_beyond_timing(d) for d in shown)
    excuse = run.excuse(divergence if divergence in shown else shown[0]) if needs_excuse else ""
    if effect in run.excluded and not excuse:
        return unexplained
    for cause in causes:
        if cause.effect in run.blamed and not run.excuse(cause):
            return Verdict.REGRESSION, run.told(cause)
    if needs_excuse:
        return (Verdict.DOCUMENTED, excuse) if excuse else unexplained
    first = next((run.told(cause) for cause in causes if cause.effect in run.allowed), "")
    if first:
        return Verdict.DOCUMENTED, first
    verdict = run.by_state(since)
    if verdict != unexplained:
        return verdict
    # An operation is said to differ from where it first did, be it in another way.
    later = max(came_up(alone, d) for d in shown)
    return run.by_state(later) if later > since else unexplained


def can_be_consequence(effect: str, meets_mishap: bool) -> bool:
    """May an earlier difference excuse an effect of an operation, around which something goes wrong or not?"""
    return effect not in NEVER_CONSEQUENCES or (meets_mishap and effect in EXCUSED_BY_MISHAPS)


class _Alone:
    """A run, and what is asked of it. `allowed`: what one of the patches announces that make its difference;
    `excluded`: what one of them forbids and none announces; `blamed`: of that, what no patch announces either that
    changes sides because they require it."""

    def __init__(self, patches: tuple[str, ...], outcome: Outcome) -> None:
        self.outcome = outcome
        compared = outcome.comparison
        self.allowed, forbidden = announced(patches, compared)
        dragged = compared.new.patches - compared.old.patches - set(patches)
        self.excluded = forbidden - self.allowed
        self.blamed = self.excluded - announced(tuple(dragged), compared)[0]

    def is_beyond_timing(self, divergence: Divergence) -> bool:
        """Does no earlier difference of whatever kind move it?"""
        return not can_be_consequence(divergence.effect, self.outcome.pair.script.meets_mishap(divergence.uid))

    def told(self, divergence: Divergence) -> str:
        return f"{divergence.effect} ({operation_tag(self.outcome.pair.script, divergence.uid)})"

    def excuse(self, divergence: Divergence) -> str:
        """Why it is not the commit's doing, whatever its message says: what is announced and lies behind it; "" if
        nothing does."""
        if divergence.effect in CONTENTS:
            return self.refusal_behind(divergence)
        over = self.outcome.pair.last_turn(divergence.uid)
        if self.is_hosts_doing(divergence.effect, over):
            return _HOST
        return self.refusal_before(over) if divergence.effect == "mapping-differs" else ""

    def is_hosts_doing(self, effect: str, turn: int) -> bool:
        """Did the process map memory otherwise before the turn of that number, as announced, and may that move it?
        An error, too: GUP-fast takes what is mapped, and GUP-slow asks the VMA, which may have changed already."""
        moves = effect == "mapping-differs" or effect in EXCUSED_BY_MISHAPS or effect not in NEVER_CONSEQUENCES
        return moves and "host-pages-differ" in self.allowed and 0 <= self.hosts_part < turn

    @cached_property
    def hosts_part(self) -> int:
        """Number of the turn after which the process first mapped memory otherwise. Costs another run."""
        return hosts_part(self.outcome)

    @cached_property
    def refusals(self) -> dict[int, Divergence]:
        """By uid, operations that one side refused, refused in another way or gave up, as announced or by timing."""
        script = self.outcome.pair.script
        refused = [
            d
            for d in self.outcome.divergences
            if d.effect in REFUSALS or (d.effect in GIVEN_UP and operation_tag(script, d.uid) == "prefetch")
        ]
        return {d.uid: d for d in refused if d.effect in self.allowed or not self.is_beyond_timing(d)}

    def refusal_before(self, turn: int) -> str:
        """A refusal that was there before the turn of that number: what it kept from being mapped is not mapped."""
        refused = [one for one in self.refusals.values() if self.outcome.pair.since(one.uid) < turn]
        return self.told(refused[0]) if refused else ""

    def refusal_behind(self, divergence: Divergence) -> str:
        """The refusal because of which contents differ: all that does is what one side did not let be written."""
        old, new = self.outcome.old.m, self.outcome.new.m
        if divergence.uid == WHOLE_RUN:
            differing = list(contents_of_both(old, new))
        else:
            differing = [stamps_read(old, new, divergence.uid)]
        behind = [self.refusal_of(stamps) for stamps in differing]
        return behind[0] if behind and all(behind) else ""

    def refusal_of(self, stamps: tuple[int, int]) -> str:
        """The refusal of who wrote one of two contents; a stamp is one more than the number of who wrote it."""
        refused = [self.refusals[stamp - 1] for stamp in stamps if stamp - 1 in self.refusals]
        return self.told(refused[0]) if refused else ""

    def by_state(self, since: int) -> tuple[Verdict, str]:
        """A consequence of the state before the turn of that number, or of a step that one side has alone."""
        effects, read, private = standing(self.outcome, since)
        told = [(state, f"{state} (before it)") for state in effects if state not in CONTENTS or not self.refusals]
        told += [(state, f"{state} (read before it, and a retry)") for state in read]
        for state, words in told:
            if state in self.blamed and not self.is_hosts_doing(state, since):
                return Verdict.REGRESSION, words
        for state, words in told:
            if state in self.allowed:
                return Verdict.DOCUMENTED, words
        if private:
            return Verdict.DOCUMENTED, f"a step that one side has alone ({private[0]})"
        return Verdict.UNEXPLAINED, ""
