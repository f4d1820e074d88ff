# SPDX-License-Identifier: GPL-2.0-only
"""Why a finding has its verdict: which effects, and which commit allows or forbids each."""

from collections.abc import Iterator
from typing import Literal

from fuzzer.judge.finding import Finding, Verdict
from fuzzer.oracle.invariants import INVARIANTS
from reference_mmu.changelog.effects import EFFECTS
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.record import Record

Stance = Literal["announces", "allows", "forbids", "claims", "says nothing"]

MEANING = {
    Verdict.DOCUMENTED: "The models differ, and the attributed commit's message allows every effect.",
    Verdict.FIXED: "OLD breaks an invariant, NEW does not, and the attributed commit says that it fixes this.",
    Verdict.FIXED_SILENTLY: "OLD breaks an invariant and NEW does not, but no commit message claims the fix.",
    Verdict.BASELINE: "Both models break the invariant, here or in a neighbouring schedule.",
    Verdict.REGRESSION: "NEW breaks an invariant that OLD keeps, or shows an effect that the commit excludes.",
    Verdict.UNEXPLAINED: "The models differ, and no commit allows it.",
}


class Opinion(Record):
    """What one attributed patch says of one effect or invariant."""

    patch: str
    title: str
    stance: Stance


class Reason(Record):
    """One effect or broken invariant, in words, and what the attributed patches say of it."""

    name: str
    words: str
    opinions: tuple[Opinion, ...]


def reasons(finding: Finding) -> list[Reason]:
    """One per effect, or one for the broken invariant."""
    if finding.kind == "violation":
        words = INVARIANTS.get(finding.what, "not an invariant of this version")
        return [Reason(finding.what, words, tuple(_opinions(finding, finding.what)))]
    return [
        Reason(effect, EFFECTS.get(effect, "not an effect of this version"), tuple(_opinions(finding, effect)))
        for effect in finding.effects
    ]


def _opinions(finding: Finding, name: str) -> Iterator[Opinion]:
    for patch_id in finding.patches:
        patch = PATCHES.get(patch_id)
        if patch is None:
            yield Opinion(patch_id, "outside the catalogue", "says nothing")
        elif name in patch.claims:
            yield Opinion(patch_id, patch.title, "claims")
        elif name in patch.announced:
            yield Opinion(patch_id, patch.title, "announces")
        elif name in patch.allowed:
            yield Opinion(patch_id, patch.title, "allows")
        elif name in patch.forbidden:
            yield Opinion(patch_id, patch.title, "forbids")
        else:
            yield Opinion(patch_id, patch.title, "says nothing")
