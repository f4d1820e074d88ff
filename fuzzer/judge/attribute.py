# SPDX-License-Identifier: GPL-2.0-only
"""Which patches cause a difference: by experiment, never by table.

The leader stays what it was, so it repeats the very same run; the follower is varied.  OLD leads: OLD against OLD + S,
and S is *sufficient* if the difference shows.  NEW leads: NEW - S against NEW, and S is *necessary* if it shows.  S is
delta-debugged to a minimal set, closed over `requires`; what a member of S drags in by being required is not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import lru_cache
from typing import Final

from fuzzer.judge.finding import Direction
from fuzzer.program.script import Script
from fuzzer.run.compare import Comparison, Drive, Side
from fuzzer.run.effort import effort_of
from fuzzer.run.model import Model
from fuzzer.run.outcome import Outcome
from reference_mmu.changelog.patches import PATCHES, PLACEBOS, can_be_cause
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.record import Record

# What is looked for in an outcome.
Sought = Callable[[Outcome], bool]
# Which of several causes is named: the one with the smallest rank.
Rank = Callable[[str], int]

# The user's own change, as one more member of the set: the follower runs on her copy of the model, or does not.
OWN_CHANGE = "own-change"


class Attribution(Record):
    """`patches`: a minimal set that makes the difference, () if even all of them do not show it in the leader's run.
    `others`: patches that, each by itself, make it as well as the single one in `patches`."""

    patches: tuple[str, ...]
    direction: Direction
    others: tuple[str, ...] = ()


UNATTRIBUTED = Attribution((), "none")


def alike(_patch: str) -> int:
    """The rank of patches none of which is rather to be named than another."""
    return 0


class Choices:
    """The patches that may be the cause, and how they hang together: the same for all programs of a comparison.

    `candidates`: what a difference may be attributed to, which is nothing that the model does not have yet. Such a
    patch may have to change sides with a candidate all the same.

    `singles`: the candidates, those that drag in least first, so that the patch itself is named and not one that it
    requires or that requires it; equivalences last: they are only right if nothing else is.
    """

    def __init__(self, old: frozenset[str], new: frozenset[str], leader: Side, *, own_change: bool) -> None:
        self.leader: Final = old if leader == "old" else new
        self.differing: Final = {p for p in (*PATCHES, *PLACEBOS) if (p in old) != (p in new)}
        self.candidates: Final = [p for p in (*PATCHES, *PLACEBOS) if p in self.differing and can_be_cause(p)]
        if own_change:
            self.differing.add(OWN_CHANGE)
            self.candidates.append(OWN_CHANGE)
        self.closed: Final = {patch: self.close((patch,)) for patch in self.differing}
        self.singles: Final = sorted(
            self.candidates,
            key=lambda p: (self.is_equivalence(p), len(self.closed[p])),
        )
        equivalences = {p for p in self.candidates if self.is_equivalence(p)}
        self.equivalences: Final = frozenset(
            p for p in equivalences if all(q in equivalences or not can_be_cause(q) for q in self.closed[p])
        )
        """Equivalences that drag in nothing else: proven to make no difference, see `mmufuzz prove`."""
        before = {patch: frozenset(self.singles[:place]) for place, patch in enumerate(self.singles)}
        self.dragged: Final = {
            patch: [p for p in self.singles if p in self.closed[patch] & before[patch]] for patch in self.singles
        }
        """By candidate, the patches that change sides with it and come before it among the singles."""
        self.all: Final = frozenset(self.differing)
        """All that changes sides: what comes of it is the other side."""

    def is_equivalence(self, patch: str) -> bool:
        """Is it one that makes no difference, as its message says?"""
        return patch in PATCHES and PATCHES[patch].kind == "equivalence"

    def without(self, patch: str) -> frozenset[str]:
        """All that changes sides, but for a patch and what would have it change sides."""
        return frozenset(p for p in self.all if patch not in self.closed[p])

    def close(self, patches: Iterable[str]) -> frozenset[str]:
        """The patches with all that must change sides with them: what one that goes on requires, and what requires
        one that goes off."""
        closed = set(patches)
        growing = True
        while growing:
            flipped = self.leader.symmetric_difference(closed - {OWN_CHANGE})
            unmet = [(p, q) for p in flipped & PATCHES.keys() for q in PATCHES[p].requires if q not in flipped]
            dragged = {q if p in closed else p for p, q in unmet} - closed
            closed |= dragged
            growing = bool(dragged)
        return frozenset(closed & self.differing)


# A search has two, one for each leader; a process that looks at reproducers, as many as these have semantics.
_choices = lru_cache(maxsize=64)(Choices)


class Attributor:
    """Experiments on one program and one interleaving; outcomes are kept, so further questions are cheap.

    `own`: the outcome of the comparison itself, if that is known.  `met`: the patches whose place in the model the
    leader's run came by, if that is known; any other one cannot make a difference, and no experiment is spent on it.
    `effort`: what the experiments have cost so far, in turns.
    """

    def __init__(
        self,
        comparison: Comparison,
        script: Script,
        drive: Drive,
        own: Outcome | None = None,
        met: Set[str] | None = None,
    ) -> None:
        self.comparison = comparison
        self.script = script
        self.drive = drive
        models = comparison.models
        old, new = comparison.old.patches, comparison.new.patches
        self.choices = _choices(old, new, comparison.leader, own_change=models.old is not models.new)
        self.candidates = self.choices.candidates
        self.met = met
        self.effort = 0
        self.outcomes: dict[frozenset[str], Outcome] = {}
        if own is not None:
            self.outcomes[self.choices.all] = own
        self.direction: Direction = "sufficient" if comparison.leader == "old" else "necessary"

    def attribute(self, shows: Sought, rank: Rank = alike) -> Attribution:
        """The minimal set for which `shows` holds: a single patch if one does, else the full set cut down.

        Several single patches may each be enough (OLD leads), or each be needed (NEW leads). `rank` chooses among
        those, smallest first; it never makes a cause of a patch that the experiment cleared.
        """
        singles = Singles(self, shows)
        causes = [patch for patch in self.choices.singles if singles.is_cause(patch)]
        if not causes:
            return self.cut_down(shows)
        first = min(causes, key=rank)
        return Attribution((first,), self.direction, tuple(patch for patch in causes if patch != first))

    def name(self, shows: Sought, rank: Rank = alike) -> Attribution:
        """What attribute() says, but for `others`, which are left out: it ends at the first that is to be named."""
        singles = Singles(self, shows)
        for patch in sorted(self.choices.singles, key=rank):
            if singles.is_cause(patch):
                return Attribution((patch,), self.direction)
        return self.cut_down(shows)

    def narrowed(self, attribution: Attribution, shows: Sought) -> Attribution:
        """The attribution, unless it shows without the patch that it names, by several that change sides with that one:
        then these are the cause, each of which hides the difference that the others would make alone."""
        without = self.dragged(attribution.patches)
        if not without or not shows(self.outcome(without)):
            return attribution
        return self.cut_down(shows, without)

    def dragged(self, patches: tuple[str, ...]) -> frozenset[str]:
        """What changes sides with a single patch that is named, without that one."""
        if len(patches) != 1 or patches[0] not in self.choices.closed:
            return frozenset()
        return frozenset(p for p in self.choices.closed[patches[0]] if patches[0] not in self.choices.closed[p])

    def cut_down(self, shows: Sought, remaining: frozenset[str] | None = None) -> Attribution:
        """The full set, or another that shows it, without what is not needed, if no single patch is enough."""
        if remaining is None:
            remaining = self.choices.all
        if not shows(self.outcome(remaining)):
            return UNATTRIBUTED
        for patch in self.candidates:
            smaller = remaining & self.choices.without(patch)
            if smaller != remaining and shows(self.outcome(smaller)):
                remaining = smaller
        named = self.generators(remaining)
        return Attribution(named, self.direction) if named else UNATTRIBUTED

    def close(self, patches: Iterable[str]) -> frozenset[str]:
        """The patches with all that must change sides with them."""
        return self.choices.close(patches)

    def may_matter(self, patches: Set[str]) -> bool:
        """Did the leader's run come by the place of one of them, as far as that is known?"""
        return self.met is None or OWN_CHANGE in patches or not self.met.isdisjoint(patches)

    def is_harmless(self, patch: str) -> bool:
        """Is it one of the equivalences, and do all of these together make no difference whatever?

        Then none does alone: two would have to undo each other, although each is proven.  One experiment for all of
        them, before anybody asks which of them broke its promise.
        """
        if patch not in self.choices.equivalences:
            return False
        together = self.outcome(self.close(self.choices.equivalences))
        return not together.divergences and together.violations("old").keys() == together.violations("new").keys()

    def leader(self) -> Semantics:
        return self.comparison.old if self.comparison.leader == "old" else self.comparison.new

    def generators(self, patches: frozenset[str]) -> tuple[str, ...]:
        """The members that no other member drags in."""
        closed = self.choices.closed
        named = [patch for patch in self.candidates if patch in patches]
        return tuple(sorted(p for p in named if not any(p != q and p in closed[q] for q in named)))

    def outcome(self, changed: frozenset[str]) -> Outcome:
        """The leader's run with a follower in which `changed` are as on the other side."""
        known = self.outcomes.get(changed)
        if known is None:
            known = self.varied(changed).run_script(self.script, self.drive)
            self.effort += effort_of(known)
            self.outcomes[changed] = known
        return known

    def varied(self, changed: frozenset[str]) -> Comparison:
        comparison = self.comparison
        leader = self.leader()
        models = comparison.models
        flipped = _semantics(leader.patches.symmetric_difference(changed - {OWN_CHANGE}))
        if comparison.leader == "old":
            follower_model: Model = models.new if OWN_CHANGE in changed else models.old
            return Comparison(leader, flipped, "old", type(models)(models.old, follower_model))
        follower_model = models.old if OWN_CHANGE in changed else models.new
        return Comparison(flipped, leader, "new", type(models)(follower_model, models.new))


class Singles:
    """Which single patches are causes of what `shows` looks for, each asked for once."""

    def __init__(self, attributor: Attributor, shows: Sought) -> None:
        self.attributor = attributor
        self.shows = shows
        self.known: dict[str, bool] = {}

    def is_cause(self, patch: str) -> bool:
        """Does it show with this patch alone?  One that drags in a cause says nothing about itself, and is none.

        Neither is half an equivalence if all the others show it, too: alone it may leave a kernel behind that never was
        one (docs/decisions/0021), and that shows this and that."""
        known = self.known.get(patch)
        if known is None:
            attributor, choices = self.attributor, self.attributor.choices
            closed = choices.closed[patch]
            known = (
                attributor.may_matter(closed)
                and not attributor.is_harmless(patch)
                and self.shows(attributor.outcome(closed))
                and not any(self.is_cause(dragged) for dragged in choices.dragged[patch])
                and not (choices.is_equivalence(patch) and self.shows(attributor.outcome(choices.without(patch))))
            )
            self.known[patch] = known
        return known


@lru_cache(maxsize=256)
def _semantics(patches: frozenset[str]) -> Semantics:
    return Semantics(patches)
