# SPDX-License-Identifier: GPL-2.0-only
"""From an outcome to judged findings: what each difference is, who causes it, and whether that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import chain
from typing import assert_never

import msgspec

from fuzzer.judge.attribute import OWN_CHANGE, UNATTRIBUTED, Attribution, Attributor, Rank, Sought
from fuzzer.judge.bystanders import without_bystanders
from fuzzer.judge.consequence import announced, consequence_of
from fuzzer.judge.finding import Finding, Sides, Verdict
from fuzzer.judge.seen import Breach, Seen, operation_tag
from fuzzer.judge.shows import Rerun, showing, shows
from fuzzer.oracle.invariants import FOLLOWS_FROM, INVARIANTS
from fuzzer.oracle.reports import Violation
from fuzzer.program.program import Program
from fuzzer.program.rng import Rng
from fuzzer.program.script import Script, script_of
from fuzzer.run.compare import Comparison, Drive, Side, by_turns
from fuzzer.run.divergence import Divergence
from fuzzer.run.effort import effort_of
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Turn
from reference_mmu.changelog.effects import EFFECTS, REPAIRS
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.config import ConfigError
from reference_mmu.mm.vma import KINDS, VM_PFNMAP

NEIGHBOURS = 60


class Trial:
    """One program under one interleaving, with all that is asked about it."""

    def __init__(self, comparison: Comparison, drive: Drive, outcome: Outcome) -> None:
        self.comparison = comparison
        self.drive = drive
        self.outcome = outcome
        self.script = outcome.pair.script
        self.broken: dict[Side, set[str]] = {"old": set(), "new": set()}
        """Invariants that the runs next door broke, as far as there were any."""
        self.tellers: dict[tuple[str, tuple[str, str]], Trial] = {}
        """By what is found, and where: the trial that tells who causes it, if that is another one."""
        self.neighbours_effort = 0
        self._neighbours: Iterator[Trial] | None = None

    # Most programs show nothing that anybody asks about.

    @cached_property
    def program(self) -> Program:
        return self.script.program()

    @cached_property
    def attributor(self) -> Attributor:
        return Attributor(self.comparison, self.script, self.drive, self.outcome)

    def judged(self, seen: Seen) -> Finding:
        """What causes one of the things that it shows, and whether that is allowed."""
        match seen:
            case Divergence():
                return self.divergence(seen)
            case Breach(invariant, _):
                return self.violation(invariant)
            case _:
                assert_never(seen)

    def shows(self, finding: Finding, outcome: Outcome, rerun: Rerun) -> bool:
        """Is it the same finding in another run, too? It must show from the attributed patches alone, too: an effect as
        a consequence, or unexplained, there as well, a broken invariant not from what only changes sides with them.
        What both sides break here both have to, or it may be another cause that one of them has alone. `rerun` runs
        the other program again in another comparison."""
        if not shows(finding, outcome):
            return False
        if not finding.patches:
            return (
                finding.kind == "divergence"
                or both_break(finding.what, outcome)
                or not both_break(finding.what, self.outcome)
            )
        varied = self.attributor.varied(self.attributor.close(finding.patches))
        # A user's change is often all that there is between the two.
        alone = outcome if varied == outcome.comparison else rerun(varied)
        if not shows(finding, alone):
            return False
        if finding.kind == "violation":
            others = self.attributor.dragged(finding.patches)
            return not others or not shows(finding, rerun(self.attributor.varied(others)))
        if finding.after or finding.verdict in (Verdict.UNEXPLAINED, Verdict.REGRESSION):
            return any(
                self.effect_verdict(seen, finding.patches, alone)[0] == finding.verdict
                for seen in showing(finding, alone)
            )
        return True

    def divergence(self, divergence: Divergence) -> Finding:
        """Judge one effect.  The story leaves out which other patches would do it, too: see told().

        Several patches none of which announces it are asked for again without bystanders, where fewer may be the cause.
        """
        finding = self.judged_effect(divergence)
        if len(finding.patches) <= 1 or (finding.verdict == Verdict.DOCUMENTED and not finding.after):
            return finding
        smaller = self.without_bystanders(lambda outcome: divergence in outcome.divergences)
        fewer = smaller.judged_effect(divergence)
        self.neighbours_effort += smaller.effort()
        return self.told_by(smaller, fewer) if is_by_fewer(fewer.patches, finding.patches) else finding

    def told_by(self, teller: Trial, finding: Finding) -> Finding:
        """A finding whose story is that of another trial."""
        self.tellers[finding.what, finding.sites] = teller
        return finding

    def teller(self, finding: Finding) -> Trial:
        """The trial whose story a finding is: this one, in most cases."""
        return self.tellers.get((finding.what, finding.sites), self)

    def judged_effect(self, divergence: Divergence) -> Finding:
        """What causes an effect in this very run, and whether that is allowed."""
        effect = divergence.effect
        attribution = self.named(divergence)
        alone = self.attributor.outcome(self.attributor.close(attribution.patches))
        verdict, after = self.effect_verdict(divergence, attribution.patches, alone)
        tag = operation_tag(self.script, divergence.uid)
        story = f"{EFFECTS[effect]} ({tag})"
        if after:
            story = f"{story}, a consequence of {after}"
        return Finding(
            kind="divergence",
            what=effect,
            effects=(effect,),
            side="both",
            leader=self.comparison.leader,
            patches=attribution.patches,
            direction=attribution.direction,
            verdict=verdict,
            # What a commit announces is one finding wherever it shows; anything else is told apart by operation.
            sites=("-", "-") if verdict == Verdict.DOCUMENTED else (tag, "-"),
            story=story,
            after=after,
            change=self.change(attribution.patches),
        )

    def effect_verdict(self, divergence: Divergence, patches: tuple[str, ...], alone: Outcome) -> tuple[Verdict, str]:
        """What an effect is by what the patches announce, or by what came before it in the run with only these; and
        what it follows from, "" if that is nothing."""
        verdict = effect_verdict(divergence.effect, patches, self.comparison)
        if verdict not in (Verdict.UNEXPLAINED, Verdict.REGRESSION):
            return verdict, ""
        followed, after = consequence_of(divergence, patches, alone)
        return (verdict, "") if followed == Verdict.UNEXPLAINED else (followed, after)

    def told(self, divergence: Divergence, finding: Finding) -> Finding:
        """The finding that divergence() made of it, with all that is worth telling once."""
        others = self.attribution(divergence).others
        if not others:
            return finding
        story = f"{finding.story}; {' or '.join(others)} alone would do it, too"
        return msgspec.structs.replace(finding, story=story)

    def named(self, divergence: Divergence) -> Attribution:
        """The patches that make one effect, without others that would, too: a fraction of the experiments."""
        return self._attributed(divergence, self.attributor.name)

    def attribution(self, divergence: Divergence) -> Attribution:
        """The patches that make one effect, and others that would, too."""
        return self._attributed(divergence, self.attributor.attribute)

    def _attributed(self, divergence: Divergence, ask: Callable[[Sought, Rank], Attribution]) -> Attribution:
        effect = divergence.effect

        def rank(patch: str) -> int:
            """Where several patches would each suffice, blame one that excludes the effect, else name one that allows
            it."""
            if patch not in PATCHES:
                return 2
            if self.comparison.leader == "old" and effect in PATCHES[patch].forbidden:
                return 0
            return 1 if effect in PATCHES[patch].allowed else 2

        questions: tuple[Sought, ...] = (
            lambda o: divergence in o.divergences,
            lambda o: any(d.effect == effect for d in o.divergences),
        )
        for question in questions:
            attribution = ask(question, rank)
            if not attribution.patches:
                continue
            if effect_verdict(effect, attribution.patches, self.comparison) == Verdict.DOCUMENTED:
                return attribution
            required = ask(questions[-1], rank)
            if self.is_announced_by_required(effect, required.patches, attribution.patches):
                return required
            return self.attributor.narrowed(attribution, question)
        return UNATTRIBUTED

    def is_announced_by_required(self, effect: str, required: tuple[str, ...], patches: tuple[str, ...]) -> bool:
        """Do some patches announce an effect, and change sides with others because these require them?  Where they show
        it, too, although in another operation, they make it here as well."""
        if not required or not self.attributor.dragged(patches).issuperset(required):
            return False
        return effect_verdict(effect, required, self.comparison) == Verdict.DOCUMENTED

    def violation(self, invariant: str) -> Finding:
        """Judge one broken invariant."""
        old, new = self.outcome.violations("old"), self.outcome.violations("new")
        side: Side = "old" if invariant in old else "new"
        seen = (old if side == "old" else new)[invariant]
        if both_break(invariant, self.outcome):
            return self.violation_finding(seen, "both", UNATTRIBUTED, Verdict.BASELINE)
        if self.is_next_door(invariant, other_side(side)):
            return self.violation_finding(seen, "both", UNATTRIBUTED, Verdict.BASELINE)
        smaller = self.without_bystanders(lambda outcome: invariant in outcome.violations(side))
        is_baseline = smaller.breaks(invariant, other_side(side)) or smaller.is_part_of_shared(invariant, side)
        teller, attribution = (self, UNATTRIBUTED) if is_baseline else self.broken_by(invariant, side, smaller)
        self.neighbours_effort += smaller.effort()
        if is_baseline:
            return self.violation_finding(seen, "both", UNATTRIBUTED, Verdict.BASELINE)
        verdict = Verdict.REGRESSION
        if side == "old":
            claimed = any(p in PATCHES and invariant in PATCHES[p].claims for p in attribution.patches)
            verdict = Verdict.FIXED if claimed else Verdict.FIXED_SILENTLY
        seen = teller.outcome.violations(side)[invariant]
        return self.told_by(teller, teller.violation_finding(seen, side, attribution, verdict))

    def violation_finding(self, seen: Violation, side: Sides, attribution: Attribution, verdict: Verdict) -> Finding:
        return Finding(
            kind="violation",
            what=seen.invariant,
            effects=(),
            side=side,
            leader=self.comparison.leader,
            patches=attribution.patches,
            direction=attribution.direction,
            verdict=verdict,
            sites=self.sites(seen),
            story=INVARIANTS[seen.invariant] + (f": {seen.detail}" if seen.detail else ""),
            change=self.change(attribution.patches),
        )

    def change(self, patches: tuple[str, ...]) -> str | msgspec.UnsetType:
        """Which change of the user's it is, if it is one."""
        return self.comparison.models.digest if OWN_CHANGE in patches else msgspec.UNSET

    def sites(self, seen: Violation) -> tuple[str, str]:
        """The racing points: where the actor stood that broke it, and where the one stood that had run before."""
        names = self.outcome.old.points.names
        return names[seen.point] or "end", names[seen.other_point] or "end"

    def is_part_of_shared(self, invariant: str, side: Side) -> bool:
        """Does it follow, on its side, from another invariant that both sides have broken?"""
        broken = list(self.outcome.violations(side))
        before = broken[: broken.index(invariant)] if invariant in broken else []
        return any(root in before and both_break(root, self.outcome) for root in FOLLOWS_FROM.get(invariant, ()))

    def is_next_door(self, invariant: str, side: Side) -> bool:
        """Does this side break the invariant close to this run?  What the other side shows next door is no news.

        Close are the program in plain memory, since the other side may have refused what it has; schedules with a few
        turns changed, half of them led by the other model, which stops at its own points; and the program without any
        one operation, whose flush may have healed the other side by accident.  They are run until one shows it.
        """
        if self._neighbours is None:
            self._neighbours = self.neighbours()
        while invariant not in self.broken[side]:
            trial = next(self._neighbours, None)
            if trial is None:
                return False
            self.neighbours_effort += effort_of(trial.outcome)
            self.broken["old"].update(trial.outcome.violations("old"))
            self.broken["new"].update(trial.outcome.violations("new"))
        return True

    def without_bystanders(self, sought: Sought) -> Trial:
        """The trial without all that has no part in what is sought. Something unrelated, a flush of aging for example,
        may have saved the other side here."""
        outcome, effort = without_bystanders(self.comparison, self.outcome, sought)
        self.neighbours_effort += effort
        return Trial(self.comparison, by_turns(outcome.turns), outcome)

    def breaks(self, invariant: str, side: Side) -> bool:
        """Does a side break the invariant here or next door?"""
        return invariant in self.outcome.violations(side) or self.is_next_door(invariant, side)

    def broken_by(self, invariant: str, side: Side, smaller: Trial) -> tuple[Trial, Attribution]:
        """The patches with which one side alone breaks the invariant, and the trial that tells so. If they are several,
        it may be that one of them does, and the others only move something before it. Then fewer do so without
        bystanders, in `smaller`, or next door to that."""

        def sought(outcome: Outcome) -> bool:
            return invariant in outcome.violations(side) and invariant not in outcome.violations(other_side(side))

        attribution = self.attributor.name(sought)
        if len(attribution.patches) > 1:
            for trial in chain((smaller,), smaller.neighbours()):
                fewer = trial.fewer(attribution.patches, sought) if sought(trial.outcome) else UNATTRIBUTED
                self.neighbours_effort += effort_of(trial.outcome)
                if fewer.patches:
                    return trial, fewer
        return self, attribution

    def fewer(self, patches: tuple[str, ...], sought: Sought) -> Attribution:
        """The patches without one of them, if what is sought shows so, too."""
        for patch in patches:
            rest = self.attributor.close(other for other in patches if other != patch)
            attribution = self.attributor.cut_down(sought, rest)
            if attribution.patches:
                return attribution
        return UNATTRIBUTED

    def effort(self) -> int:
        """What has been spent on questions about this run, in turns."""
        return self.attributor.effort + self.neighbours_effort

    def neighbours(self) -> Iterator[Trial]:
        """The trials next door."""
        comparison = self.comparison
        swapped = Comparison(
            comparison.old, comparison.new, "new" if comparison.leader == "old" else "old", comparison.models
        )
        for number, (script, turns) in enumerate(self.near()):
            led = comparison if number % 2 else swapped
            outcome = led.run_script(script, by_turns(turns))
            yield Trial(led, by_turns(outcome.turns), outcome)

    def near(self) -> Iterator[tuple[Script, list[Turn]]]:
        """What is run next door."""
        for plain in in_plain_memory(self.program):
            yield script_of(plain), self.outcome.turns
            yield script_of(plain), self.outcome.turns
        for turns in neighbour_turns(self.outcome.turns, NEIGHBOURS):
            yield self.script, turns
        for uid in sorted(self.program.uids()):
            fewer = [turn for turn in self.outcome.turns if turn.uid != uid]
            smaller = script_of(self.program.without(uid))
            yield smaller, fewer
            yield smaller, fewer


def other_side(side: Side) -> Side:
    return "new" if side == "old" else "old"


def both_break(invariant: str, outcome: Outcome) -> bool:
    return invariant in outcome.violations("old") and invariant in outcome.violations("new")


def is_by_fewer(fewer: tuple[str, ...], patches: tuple[str, ...]) -> bool:
    """Are these some of the patches, and not all?"""
    return bool(fewer) and set(fewer) < set(patches)


def in_plain_memory(program: Program) -> Iterator[Program]:
    """The program with anonymous memory alone, and with anonymous memory for what is mapped by pfn, which one side may
    refuse where it takes all the rest as it is; as far as these are others, and make sense."""
    config = program.config
    by_pfn = tuple("anon" if KINDS[kind].vm_flags & VM_PFNMAP else kind for kind in config.backing)
    for backing in dict.fromkeys((("anon",) * len(config.backing), by_pfn)):
        plain = msgspec.structs.replace(config, backing=backing)
        if plain != config:
            with suppress(ConfigError):
                yield Program(plain, program.actors).check()


def effect_verdict(effect: str, patches: tuple[str, ...], comparison: Comparison) -> Verdict:
    """A documented effect is allowed by one of the attributed patches and forbidden by none; what is wrong in OLD alone
    needs nobody's leave to go."""
    allowed, forbidden = announced(patches, comparison)
    if effect in forbidden:
        return Verdict.REGRESSION
    if effect in allowed:
        return Verdict.DOCUMENTED
    return Verdict.FIXED_SILENTLY if effect in REPAIRS and patches else Verdict.UNEXPLAINED


def neighbour_turns(turns: list[Turn], count: int) -> Iterator[list[Turn]]:
    """`count` schedules near one: the schedule itself, then 1 to 4 turns dropped, doubled or moved."""
    yield turns
    rng = Rng(len(turns))
    for _ in range(count - 1):
        near = list(turns)
        for _ in range(1 + rng.below(4)):
            if not near:
                break
            at = rng.below(len(near))
            kind = rng.below(3)
            turn = near[at]
            if kind != 1:
                del near[at]
            if kind == 2:
                near.insert(rng.below(len(near) + 1), turn)
            elif kind == 1:
                near.insert(at, turn)
        yield near
