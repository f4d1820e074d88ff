# SPDX-License-Identifier: GPL-2.0-only
"""Prove that an equivalence patch changes nothing: each sweep of equivalences.py, on the oldest and newest base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fuzzer.hunt import Hunt
from fuzzer.prove import equivalences
from fuzzer.prove.callers import CALLER_SWEEPS
from fuzzer.prove.equivalences import HALVES, PROGRAMS, Halves
from fuzzer.prove.gmem import GMEM_SWEEPS
from fuzzer.prove.maps import MAP_SWEEPS
from fuzzer.prove.merge import MERGE_SWEEPS
from fuzzer.prove.sweep import InputCase, SemanticsPair, Sweep
from fuzzer.prove.vsie import VSIE_SWEEPS
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.patches import PATCHES, closure, dependents, not_modelled, unknown_patch
from reference_mmu.changelog.semantics import NEW, Semantics, base_of
from reference_mmu.record import Record

SWEEPS: Final = {**equivalences.SWEEPS, **MAP_SWEEPS, **VSIE_SWEEPS, **CALLER_SWEEPS, **GMEM_SWEEPS, **MERGE_SWEEPS}
"""By patch, what has to be found equal on both sides."""


class Proof(Record):
    """`cases`: what was compared, all bases together, of which `programs` are random programs and the rest every
    input of `exhaustive`; `domain`: the same in words, with the number of cases of each part; `counterexample`: the
    first input on which the sides differ, None if they never do.

    `together`: a patch that is not equivalent alone, but with these, its other half first: then cases and domain are
    those of that proof, and `why` says what is wrong with it alone.  `reproducer`: a program that shows the
    difference, if one does.
    """

    patch: str
    proven: bool
    cases: int
    domain: str
    counterexample: str | None = None
    together: tuple[str, ...] = ()
    why: str = ""
    reproducer: bytes | None = None
    programs: int = 0
    exhaustive: tuple[str, ...] = ()


class NoEquivalence(ValueError):
    """The patch is one that changes something, or the model does not have it; the message is one line."""


def prove(
    patch_id: str, bases: Iterable[SemanticsPair] | None = None, pairs: dict[Halves, Proof] | None = None
) -> Proof:
    """Compare the model without and with the patch over its whole domain, up to the first difference. A sweep without
    any case proves nothing. What is known to be one half of an equivalence is compared together with the other half,
    too.

    `bases` are the sides to compare, by default those of `bases_of`; `pairs` the proofs of pairs that are known
    already, to which this one is added. Raises UnknownPatch, and NoEquivalence for a patch of another kind and for one
    that is not modelled.
    """
    check_equivalence(patch_id)
    alone = compared(patch_id, SWEEPS[patch_id], list(bases_of(patch_id) if bases is None else bases))
    if alone.proven or bases is not None:
        return alone
    for halves in HALVES:
        if patch_id in (halves.breaks, halves.mends):
            return as_a_pair(alone, halves, {} if pairs is None else pairs)
    return alone


def check_equivalence(patch_id: str) -> None:
    """Raises UnknownPatch, and NoEquivalence."""
    if patch_id not in PATCHES:
        raise unknown_patch(patch_id)
    if not PATCHES[patch_id].modelled:
        raise NoEquivalence(not_modelled(patch_id))
    if patch_id not in SWEEPS:
        raise NoEquivalence(f"'{patch_id}' is a {PATCHES[patch_id].kind} patch: 'mmufuzz expose' shows what it changes")


def claims_of(patch_id: str) -> tuple[list[Sweep], list[SemanticsPair]]:
    """What has to be found equal, and on which sides, for the patch to be proven: half an equivalence, together with
    its other half."""
    for halves in HALVES:
        both = halves.breaks, halves.mends
        if patch_id in both:
            own_first = sorted(both, key=lambda patch: patch != patch_id)
            sweeps = {sweep.claim: sweep for patch in own_first for sweep in SWEEPS[patch]}
            return list(sweeps.values()), bases_of(*both)
    return list(SWEEPS[patch_id]), bases_of(patch_id)


def as_a_pair(alone: Proof, halves: Halves, known: dict[Halves, Proof]) -> Proof:
    """The proof of both halves of an equivalence, which says what one of them does alone; `alone` if there is none."""
    both = halves.breaks, halves.mends
    sweeps, bases = claims_of(alone.patch)
    proof = known[halves] if halves in known else compared(alone.patch, sweeps, bases)
    known[halves] = proof
    if not proof.proven:
        return alone
    others = bases[0].after.patches - bases[0].before.patches - set(both)
    return msgspec.structs.replace(
        alone,
        cases=proof.cases,
        programs=proof.programs,
        exhaustive=proof.exhaustive,
        domain=proof.domain,
        together=(*(half for half in both if half != alone.patch), *(patch for patch in PATCHES if patch in others)),
        why=halves.why,
    )


def compared(patch_id: str, sweeps: Sequence[Sweep], pairs: list[SemanticsPair]) -> Proof:
    """Every sweep over every pair, up to the first difference."""
    exhaustive = tuple(sweep.over for sweep in sweeps if sweep.profile is None)
    proof = Proof(patch_id, False, 0, "", exhaustive=exhaustive)
    parts: list[str] = []
    for sweep in sweeps:
        seen = 0
        for sides in pairs:
            for case in sweep.cases(sides):
                seen += 1
                if case.before != case.after:
                    parts.append(f"{sweep.claim} ({seen} cases, then a difference)")
                    return msgspec.structs.replace(
                        with_more(proof, sweep, seen, parts),
                        counterexample=counterexample(sweep, sides, case),
                        reproducer=reproducer(sweep, sides, case),
                    )
        if seen == 0:
            return msgspec.structs.replace(proof, counterexample=f"nothing was compared: {sweep.claim}")
        parts.append(f"{sweep.claim} ({seen} cases)")
        proof = with_more(proof, sweep, seen, parts)
    where = ", ".join(f"{sides.before.spec()} and {sides.after.spec()}" for sides in pairs)
    return msgspec.structs.replace(proof, proven=True, domain=f"{proof.domain}; sides compared: {where}")


def with_more(proof: Proof, sweep: Sweep, seen: int, parts: list[str]) -> Proof:
    """The proof after so many cases of a sweep."""
    programs = proof.programs + (seen if sweep.profile is not None else 0)
    return msgspec.structs.replace(proof, cases=proof.cases + seen, programs=programs, domain="; ".join(parts))


def bases_of(*patches: str) -> list[SemanticsPair]:
    """The patches alone with what they require, on the kernel their series was applied to, and NEW without what
    requires them. On the other side they are off, and with them what lies between two of them."""
    off = dependents(patches)
    both = closure(patches)
    oldest = base_of(patches[0]).patches | both
    newest = NEW.patches - (off - both)
    return [SemanticsPair(Semantics(on - off), Semantics(on)) for on in (oldest, newest)]


def reproducer(sweep: Sweep, sides: SemanticsPair, case: InputCase) -> bytes | None:
    """A program that shows the difference as a reproducer, where cases are programs: one of the next few from the
    case's seed on, as a search would find it."""
    if sweep.profile is None:
        return None
    hunt = Hunt(SeedRunner(sides.before, sides.after, sweep.profile))
    (first,) = case.inputs
    assert isinstance(first, int)
    for seed in range(first, first + PROGRAMS):
        for found in hunt.one(seed):
            if found.reproducer is not None and found.finding.patches:  # what both sides show is no difference
                return found.reproducer
    return None


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
