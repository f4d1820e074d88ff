# SPDX-License-Identifier: GPL-2.0-only
"""A labelled sample: is the patch that makes a difference also the one that is named?

A label comes from a pair of semantics that differ in one single patch: whatever differs between the two is that patch's
doing.  The same program under the same interleaving is then run with more between the two, and the same difference must
be attributed to the label and to nothing else: against `BASE+PATCH` or `new-PATCH`, which put on or take off what the
patch requires or what requires it (--against patch), and against the other end of history, all patches apart or nearly
so (--against history).

    python -m tests.quality.attribution --divergences 1000 --against patch
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple

from fuzzer.judge.attribute import Attribution
from fuzzer.judge.seen import operation_tag
from fuzzer.judge.verdict import Trial
from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Program
from fuzzer.program.rng import stream
from fuzzer.run.compare import Comparison, Drive, by_scheduler
from fuzzer.run.divergence import Divergence
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.patches import PATCHES, can_be_cause, closure, dependents
from reference_mmu.changelog.semantics import NEW, OLD, Semantics, base_of

LABELS: Final = tuple(
    patch.id
    for patch in PATCHES.values()
    if patch.kind != "equivalence" and patch.level == "system" and can_be_cause(patch.id)
)


class Labelled(NamedTuple):
    """A divergence whose cause is known, and what attribution makes of it."""

    label: str
    seed: int
    leader: str
    effect: str
    attribution: Attribution

    def right(self) -> bool:
        return self.attribution.patches == (self.label,)

    def either(self) -> bool:
        """Several patches make this difference, each by itself; the label is one of them, and is told as such."""
        return self.label in self.attribution.others


def narrow(label: str, leader: str) -> Comparison:
    """Two semantics that differ in `label` alone; the leader is as old, or as new, as can be."""
    if leader == "old":
        required = (base_of(label).patches | closure([label])) - {label}
        return Comparison(Semantics(required), Semantics(required | {label}), "old")
    without = NEW.patches - dependents([label])
    return Comparison(Semantics(without), Semantics(without | {label}), "new")


def wide(label: str, leader: str) -> Comparison:
    """The leader of the narrow comparison against the other end of history."""
    comparison = narrow(label, leader)
    return Comparison(comparison.old, NEW, "old") if leader == "old" else Comparison(OLD, comparison.new, "new")


def single(label: str, leader: str) -> Comparison:
    """`BASE` against `BASE+PATCH`, or `new-PATCH` against `new`."""
    if leader == "old":
        base = base_of(label)
        return Comparison(base, Semantics(base.patches | closure([label])), "old")
    return Comparison(Semantics(NEW.patches - dependents([label])), NEW, "new")


AGAINST: Final = {"history": wide, "patch": single}


def sample(per_label: int, first_seed: int = 0, against: str = "history") -> Iterator[Labelled]:
    """Divergences of every label, at most `per_label` of each with each leader, seed after seed without end."""
    profiles = list(PROFILES.values())
    taken: Counter[tuple[str, str]] = Counter()
    for seed in count(first_seed):
        program = generate(seed, profiles[seed % len(profiles)])
        drive = by_scheduler(draw_strategy(seed), stream(seed, "attribution"))
        for label in LABELS:
            for leader in ("old", "new"):
                if taken[label, leader] < per_label:
                    found = list(labelled(label, seed, AGAINST[against](label, leader), program, drive))
                    taken[label, leader] += len(found)
                    yield from found


def labelled(label: str, seed: int, broad: Comparison, program: Program, drive: Drive) -> Iterator[Labelled]:
    """What one program shows of the label: each effect once per kind of operation."""
    seen: set[tuple[str, str]] = set()
    divergences = narrow(label, broad.leader).run(program, drive).divergences
    if not divergences:
        return
    trial = Trial(broad, drive, broad.run(program, drive))
    for divergence in divergences:
        kind = divergence.effect, operation_tag(trial.script, divergence.uid)
        # What the other patches hide, or change into something else, is no longer the labelled difference.
        if kind not in seen and divergence in trial.outcome.divergences and not comes_without(label, divergence, trial):
            seen.add(kind)
            yield Labelled(label, seed, broad.leader, divergence.effect, trial.attribution(divergence))


def comes_without(label: str, divergence: Divergence, trial: Trial) -> bool:
    """Do those patches that must change sides with the label make the difference without it? Then it is theirs."""
    attributor = trial.attributor
    others = attributor.close([label]) - {label}
    return bool(others) and divergence in attributor.outcome(others).divergences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--divergences", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", choices=AGAINST, default="history")
    parser.add_argument("--seeds", type=int, default=20000, help="look no further than so many seeds")
    wanted = parser.parse_args()
    labels: Counter[str] = Counter()
    right = either = 0
    other: Counter[tuple[str, ...]] = Counter()
    example: dict[tuple[str, ...], int] = {}
    for one in sample(-(-wanted.divergences // (len(LABELS) * 2)) * 2, wanted.seed, wanted.against):
        if labels.total() >= wanted.divergences or one.seed - wanted.seed > wanted.seeds:
            break
        labels[one.label] += 1
        right += one.right()
        either += one.either()
        if not one.right():
            named = "+".join(one.attribution.patches) or "nothing"
            rating = "either" if one.either() else "wrong"
            what = rating, one.label, one.leader, one.effect, named
            other[what] += 1
            example.setdefault(what, one.seed)
    print(f"{labels.total()} divergences: {right} name the label, {either} another one that suffices, too,")
    print(f"and the label beside it, {labels.total() - right - either} are wrong")
    for name, number in sorted(labels.items()):
        print(f"  {number:5d}  {name}")
    for kind, number in other.most_common():
        print(f"  {number:5d}  {' '.join(kind)} (seed {example[kind]})")


if __name__ == "__main__":
    main()
