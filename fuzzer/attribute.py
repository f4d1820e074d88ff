# SPDX-License-Identifier: GPL-2.0-only
"""Which patches cause a difference: by experiment, never by table.

The leader stays what it was, so it repeats the very same run; the follower is varied.  OLD leads: OLD against OLD + S,
and S is *sufficient* if the difference shows.  NEW leads: NEW - S against NEW, and S is *necessary* if it shows.  S is
delta-debugged to a minimal set, closed over `requires`; what a member of S drags in by being required is not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from fuzzer.compare import Comparison, Drive
from fuzzer.execute import Model
from fuzzer.finding import Direction
from fuzzer.outcome import Outcome
from fuzzer.script import Script
from reference_mmu.patches import PATCHES, PLACEBOS
from reference_mmu.semantics import Semantics

# What is looked for in an outcome.
Shows = Callable[[Outcome], bool]

# The user's own change, as one more member of the set: the follower runs on her copy of the model, or does not.
OWN_CHANGE = "own-change"


class Attribution(msgspec.Struct, frozen=True):
    """`patches`: a minimal set that makes the difference, () if even all of them do not show it in the leader's run.
    `others`: patches that, each by itself, make it as well as the single one in `patches`."""

    patches: tuple[str, ...]
    direction: Direction
    others: tuple[str, ...] = ()


UNATTRIBUTED = Attribution((), "none")


class Attributor:
    """Experiments on one program and one interleaving; outcomes are kept, so further questions are cheap."""

    def __init__(self, comparison: Comparison, script: Script, drive: Drive) -> None:
        self.comparison = comparison
        self.script = script
        self.drive = drive
        old, new = comparison.old.patches, comparison.new.patches
        self.candidates = [p for p in (*PATCHES, *PLACEBOS) if (p in old) != (p in new)]
        if comparison.models.old is not comparison.models.new:
            self.candidates.append(OWN_CHANGE)
        self.outcomes: dict[frozenset[str], Outcome] = {}
        self.direction: Direction = "sufficient" if comparison.leader == "old" else "necessary"

    def attribute(self, shows: Shows, rank: Callable[[str], int] = lambda patch: 0) -> Attribution:
        """The minimal set for which `shows` holds: a single patch if one does, else the full set cut down.

        Several single patches may each be enough (OLD leads), or each be needed (NEW leads). `rank` chooses among
        those, smallest first; it never makes a cause of a patch that the experiment cleared.
        """
        causes: list[str] = []
        for patch in self.singles():
            # One that drags in a cause already found says nothing about itself.
            if self.close((patch,)).isdisjoint(causes) and shows(self.outcome(self.close((patch,)))):
                causes.append(patch)
        if causes:
            first = min(causes, key=rank)
            return Attribution((first,), self.direction, tuple(patch for patch in causes if patch != first))
        remaining = frozenset(self.candidates)
        if not shows(self.outcome(remaining)):
            return UNATTRIBUTED
        for patch in self.candidates:
            smaller = frozenset(p for p in remaining if patch not in self.close((p,)))
            if smaller != remaining and shows(self.outcome(smaller)):
                remaining = smaller
        named = self.generators(remaining)
        return Attribution(named, self.direction) if named else UNATTRIBUTED

    def singles(self) -> list[str]:
        """Candidates, those that drag in least first, so that the patch itself is named and not one that it requires
        or that requires it; equivalences last: they are only right if nothing else is."""
        return sorted(
            self.candidates,
            key=lambda p: (p in PATCHES and PATCHES[p].kind == "equivalence", len(self.close((p,)))),
        )

    def close(self, patches: Iterable[str]) -> frozenset[str]:
        """The patches with all that must change sides with them: what one that goes on requires, and what requires
        one that goes off."""
        leader = self.leader().patches
        closed = set(patches)
        growing = True
        while growing:
            flipped = leader.symmetric_difference(closed - {OWN_CHANGE})
            unmet = [(p, q) for p in flipped & PATCHES.keys() for q in PATCHES[p].requires if q not in flipped]
            dragged = {q if p in closed else p for p, q in unmet} - closed
            closed |= dragged
            growing = bool(dragged)
        return frozenset(p for p in closed if p in self.candidates)

    def leader(self) -> Semantics:
        return self.comparison.old if self.comparison.leader == "old" else self.comparison.new

    def generators(self, patches: frozenset[str]) -> tuple[str, ...]:
        """The members that no other member drags in."""
        return tuple(sorted(p for p in patches if not any(p != q and p in self.close((q,)) for q in patches)))

    def outcome(self, changed: frozenset[str]) -> Outcome:
        """The leader's run with a follower in which `changed` are as on the other side."""
        known = self.outcomes.get(changed)
        if known is None:
            known = self.varied(changed).run_script(self.script, self.drive)
            self.outcomes[changed] = known
        return known

    def varied(self, changed: frozenset[str]) -> Comparison:
        comparison = self.comparison
        leader = self.leader()
        models = comparison.models
        flipped = Semantics(leader.patches.symmetric_difference(changed - {OWN_CHANGE}))
        if comparison.leader == "old":
            follower_model: Model = models.new if OWN_CHANGE in changed else models.old
            return Comparison(leader, flipped, "old", type(models)(models.old, follower_model))
        follower_model = models.old if OWN_CHANGE in changed else models.new
        return Comparison(flipped, leader, "new", type(models)(follower_model, models.new))
