# SPDX-License-Identifier: GPL-2.0-only
"""Prove that an equivalence patch changes nothing: each sweep of equivalences.py, on the oldest and newest base."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fuzzer.prove import equivalences
from fuzzer.prove.equivalences import InputCase, SemanticsPair, Sweep
from fuzzer.prove.maps import MAP_SWEEPS
from reference_mmu.changelog.patches import PATCHES, closure, dependents, not_modelled, unknown_patch
from reference_mmu.changelog.semantics import NEW, Semantics, base_of
from reference_mmu.record import Record

SWEEPS: Final = {**equivalences.SWEEPS, **MAP_SWEEPS}
"""By patch, what has to be found equal on both sides."""


class Proof(Record):
    """`cases`: inputs compared, all bases together; `domain`: what was compared, with the number of cases of each part;
    `counterexample`: the first input on which the sides differ, None if they never do."""

    patch: str
    proven: bool
    cases: int
    domain: str
    counterexample: str | None = None


class NoEquivalence(ValueError):
    """The patch is one that changes something, or the model does not have it; the message is one line."""


def prove(patch_id: str, bases: Iterable[SemanticsPair] | None = None) -> Proof:
    """Compare the model without and with the patch over its whole domain, up to the first difference. A sweep without
    any case proves nothing.

    `bases` are the pairs to compare, by default those of `bases_of`. Raises UnknownPatch, and NoEquivalence for a patch
    of another kind and for one that is not modelled.
    """
    if patch_id not in PATCHES:
        raise unknown_patch(patch_id)
    if not PATCHES[patch_id].modelled:
        raise NoEquivalence(not_modelled(patch_id))
    if patch_id not in SWEEPS:
        raise NoEquivalence(f"'{patch_id}' is a {PATCHES[patch_id].kind} patch: 'mmufuzz expose' shows what it changes")
    pairs = list(bases_of(patch_id) if bases is None else bases)
    cases = 0
    parts = []
    for sweep in SWEEPS[patch_id]:
        seen = 0
        for sides in pairs:
            for case in sweep.cases(sides):
                seen += 1
                if case.before != case.after:
                    parts.append(f"{sweep.claim} ({seen} cases, then a difference)")
                    return Proof(patch_id, False, cases + seen, "; ".join(parts), counterexample(sweep, sides, case))
        if seen == 0:
            return Proof(patch_id, False, cases, "; ".join(parts), f"nothing was compared: {sweep.claim}")
        cases += seen
        parts.append(f"{sweep.claim} ({seen} cases)")
    where = ", ".join(f"{sides.before.spec()} and {sides.after.spec()}" for sides in pairs)
    return Proof(patch_id, True, cases, f"{'; '.join(parts)}; sides compared: {where}")


def bases_of(patch_id: str) -> list[SemanticsPair]:
    """The patch alone with what it requires, on the kernel its series was applied to, and NEW without what requires
    it."""
    pairs = []
    for on in (base_of(patch_id).patches | closure([patch_id]), NEW.patches - (dependents([patch_id]) - {patch_id})):
        pairs.append(SemanticsPair(Semantics(on - {patch_id}), Semantics(on)))
    return pairs


def counterexample(sweep: Sweep, sides: SemanticsPair, case: InputCase) -> str:
    """One line: the input, and what came out on either side, from where they differ."""
    inputs = ", ".join(f"{name} {spelled(value)}" for name, value in zip(sweep.inputs, case.inputs, strict=True))
    before, after = differing(case.before, case.after)
    return f"{inputs}: {spelled(before)} in {sides.before.spec()}, {spelled(after)} in {sides.after.spec()}"


def differing(before: object, after: object) -> tuple[object, object]:
    """The innermost parts of two results that differ."""
    if isinstance(before, (tuple, list)) and isinstance(after, (tuple, list)) and len(before) == len(after):
        for was, now in zip(before, after, strict=True):
            if was != now:
                return differing(was, now)
    return before, after


def spelled(value: object) -> str:
    """SPTEs in hex, everything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < 1 << 11:
        return f"{value & (1 << 64) - 1:#x}"
    return str(value)
