# SPDX-License-Identifier: GPL-2.0-only
"""Show what a patch changes: search the kernel just before it against the one just after it for a difference.

A patch that the catalogue calls invisible at system level is shown on the function it changes instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, permutations
from typing import Final, Literal, NamedTuple

import msgspec

from fuzzer.found import Found
from fuzzer.hunt import Hunt
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.prove.inputs import TABLE_KINDS, TableKind, legal_leaves, spell
from fuzzer.prove.maps import references_after_a_failed_map
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.patches import PATCHES, Patch, can_be_cause, closure, not_modelled, unknown_patch
from reference_mmu.changelog.semantics import Semantics, base_of
from reference_mmu.record import Record
from reference_mmu.x86.shadow_mmu.mmu_spte import mmu_spte_update_needs_flush
from reference_mmu.x86.spte import SpteMasks


class Exposure(Record):
    """How far the search for one patch has come.

    `effects`      what the exposing program showed, a violation of the old model by the name of its invariant.
    `witness`      where and how, for people: the story of the finding, or the input of a function.
    `reproducer`   content of the minimized reproducer; None at function level, where there is nothing to replay.
    `reason`       of level "function": why no program can show it.
    """

    patch: str
    exposed: bool
    level: Literal["system", "function"]
    programs: int
    effects: tuple[str, ...] = ()
    witness: str | None = None
    reproducer: bytes | None = None
    reason: str = ""


class NothingToExpose(ValueError):
    """The patch is an equivalence, or the model does not have it; the message is one line."""


_ACROSS_ROOTS: Final = Profile(
    "across-roots", "aging while roots come and go", mmu=("tdp",), aging=8, invalidation=0, logging=0, tracking=0
)
# Where a patch shows soonest; "mixed" for the others.
PROFILE_OF: Final[dict[str, Profile]] = {
    "shadow-no-flush-on-clear-dirty": PROFILES["shadow"],
    "tdp-fault-warn-flush-mmuw": PROFILES["tdp"],
    "sw-accessed-when-ad-off": msgspec.structs.replace(PROFILES["aging"], paging=("ept-noad",)),
    "sw-dirty-when-ad-off": msgspec.structs.replace(PROFILES["mixed"], paging=("ept-noad",)),
    "age-valid-roots-only": msgspec.structs.replace(_ACROSS_ROOTS, slots=8, nested=0),
    "test-age-early-out": msgspec.structs.replace(_ACROSS_ROOTS, slots=0, nested=4),
    "age-elides-tlb-flush": PROFILES["aging"],
    "gup-eagain-is-sigpending": PROFILES["pages"],
    "gup-drop-extra-hwpoison-gup": PROFILES["pages"],
    "mixedmap-no-refcount": PROFILES["pages"],
    "x86-put-refcounted-page-not-pfn": PROFILES["pages"],
    "vcpu-map-foll-pin": PROFILES["vcpu-map"],
    "vcpu-map-write-gup-only-when-writable": PROFILES["vcpu-map"],
    "pfncache-release-unused": PROFILES["vcpu-map"],
    "nvmx-apic-access-page-dirty": PROFILES["vcpu-map"],
    "disallow-unpinned-map-by-default": PROFILES["vcpu-map"],
    "arm64-mte-copy-tags-via-gfn-to-page": PROFILES["arm64-mte"],
    "gfn-to-page-exact": PROFILES["powerpc-pr"],
    "e500-dirty-in-shadow-map": PROFILES["e500"],
    "e500-accessed-before-unlock": PROFILES["e500"],
    "e500-faultin-pfn": PROFILES["e500"],
    "ppc-pr-dirty-accessed-after-pte": PROFILES["powerpc-pr"],
    "ppc-pr-faultin-pfn": PROFILES["powerpc-pr"],
    "ppc-dcbz-drop-extra-get-page": PROFILES["powerpc-pr"],
    "ppc-dcbz-patch-via-vcpu-map": PROFILES["powerpc-pr"],
    "ppc-uv-share-requires-struct-page": PROFILES["powerpc-uv"],
    "apic-page-no-initial-fault-in": PROFILES["apic-page"],
    "vmx-apic-page-hold-mmu-lock": PROFILES["apic-page"],
    "batch-collapsible-zap-flush": msgspec.structs.replace(PROFILES["log"], mmu=("tdp",)),
}


def expose_steps(patch_id: str, first_seed: int = 0) -> Iterator[Exposure]:
    """Search program by program, without end until a difference is found and attributed to the patch; the last item
    has `exposed` set. The caller stops when he has waited long enough.

    It stands on the kernel that its series was applied to. Raises UnknownPatch, and NothingToExpose for an equivalence
    and for what is not modelled.
    """
    if patch_id not in PATCHES:
        raise unknown_patch(patch_id)
    patch = PATCHES[patch_id]
    if patch.kind == "equivalence":
        raise NothingToExpose(f"'{patch_id}' is an equivalence patch: 'mmufuzz prove' shows that it changes nothing")
    if not can_be_cause(patch_id):
        raise NothingToExpose(not_modelled(patch_id))
    on = base_of(patch_id).patches | closure([patch_id])
    before, after = Semantics(on - {patch_id}), Semantics(on)
    if patch.level == "function":
        return iter((expose_function(patch, before, after),))
    return search(patch_id, Hunt(SeedRunner(before, after, profile_for(patch))), first_seed)


def profile_for(patch: Patch) -> Profile:
    """Programs in which a patch shows soon: those that it is listed with, else the first of its architecture."""
    of_its_own = [profile for profile in PROFILES.values() if patch.arch in profile.arch]
    return PROFILE_OF.get(patch.id, of_its_own[0] if of_its_own else PROFILES["mixed"])


def search(patch_id: str, hunt: Hunt, first_seed: int) -> Iterator[Exposure]:
    """One item per program."""
    for seed in count(first_seed):
        found = [f for f in hunt.one(seed) if f.finding.patches == (patch_id,) and f.reproducer is not None]
        if found:
            yield exposure(patch_id, hunt.ground.programs, found)
            return
        yield Exposure(patch_id, False, "system", hunt.ground.programs)


def exposure(patch_id: str, programs: int, found: list[Found]) -> Exposure:
    """All effects, and the story that is told soonest."""
    effects = dict.fromkeys(name for f in found for name in f.finding.effects or (f.finding.what,))
    shortest = min(found, key=lambda f: (f.operations, f.preemptions))
    return Exposure(patch_id, True, "system", programs, tuple(effects), shortest.finding.story, shortest.reproducer)


def expose_function(patch: Patch, before: Semantics, after: Semantics) -> Exposure:
    """The smallest input that shows it: a map that failed, or an update of an SPTE on which mmu_spte_update() changes
    its mind, since all other patches of this level in the catalogue are clauses of its verdict."""
    if patch.id == "vcpu-map-init-all-fields":
        return expose_failed_map(patch, before, after)
    kinds = [kind for kind in TABLE_KINDS if not kind.guest_mode]  # which only the TDP MMU has
    changes = [change for kind in kinds for change in verdict_changes(kind, before, after)]
    if not changes:
        return Exposure(patch.id, False, "function", 0, reason=patch.why)
    smallest = min(changes, key=lambda change: change.size)
    return Exposure(patch.id, True, "function", 0, (smallest.effect,), smallest.witness, reason=patch.why)


class VerdictChange(NamedTuple):
    """An update on which the verdicts differ. `size`: how many bits it adds, how many it changes, how many are set,
    which ones it changes; so that the plainest comes first."""

    size: tuple[int, int, int, int]
    effect: str
    witness: str


def verdict_changes(kind: TableKind, before: Semantics, after: Semantics) -> Iterator[VerdictChange]:
    """Every legal update on which the verdicts differ."""
    masks, masks_after = SpteMasks(kind.paging, before), SpteMasks(kind.paging, after)
    for old, new in permutations(legal_leaves(kind, 1, masks), 2):
        was = mmu_spte_update_needs_flush(masks, old, new)
        now = mmu_spte_update_needs_flush(masks_after, old, new)
        if was != now:
            changed = old ^ new
            size = (new & changed).bit_count(), changed.bit_count(), old.bit_count() + new.bit_count(), changed
            update = f"{spell(old, masks)} -> {spell(new, masks)}"
            witness = f"mmu_spte_update() on {kind}: {update}: flush {was} before, {now} after"
            yield VerdictChange(size, "more-flushes" if now else "fewer-flushes", witness)


def expose_failed_map(patch: Patch, before: Semantics, after: Semantics) -> Exposure:
    """What kvm_vcpu_unmap() does after a kvm_vcpu_map() that has failed."""
    was, now = references_after_a_failed_map(before), references_after_a_failed_map(after)
    witness = f"kvm_vcpu_unmap() of a map that failed: KVM holds {was} references before, {now} after"
    return Exposure(patch.id, was != now, "function", 0, ("page-references-differ",), witness, reason=patch.why)
