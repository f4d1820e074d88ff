# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue: one `Patch` for each upstream commit that the model can switch on and off by itself."""

import difflib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from typing import Annotated, Final, Literal

import msgspec

from ..record import Record
from .effects import EFFECTS

# One file per upstream series, in the order in which they were applied.
_CATALOGUE_FILES: Final = ("x86_mmu.yaml",)

PatchId = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
KernelFunction = Annotated[str, msgspec.Meta(pattern=r"^[\w./-]+:\w+$")]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class CatalogueError(ValueError):
    """A catalogue file contradicts itself, the vocabulary of effects or the schema of `Patch`."""


class UnknownPatch(ValueError):
    """A name that is not in the catalogue, or a semantics spec that makes no sense. The message is one line."""


class Patch(Record, forbid_unknown_fields=True):
    """One upstream commit.

    `kind`       semantic: changes what can be observed; cost: changes only how much work is done; equivalence: neither.
    `requires`   patches without which this one makes a kernel that nobody ever ran (a broken one).
    `level`      function: no in-tree caller can show the change to a guest or to userspace; `why` says why not.
    `allowed`    effects that the commit message announces or tolerates.
    `forbidden`  effects that the commit message or safety excludes.
    `claims`     invariants whose violation in old the commit message says it fixes.
    `functions`  kernel functions touched, as "file:function".
    """

    id: PatchId
    title: Text
    upstream: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")]
    area: Literal["iter", "zap", "cleanup", "aging", "spte-bits", "tlb-flush", "fault"]
    mmu: Literal["tdp", "shadow", "both", "common"]
    kind: Literal["semantic", "cost", "equivalence"]
    old: Text
    new: Text
    allowed: frozenset[str]
    forbidden: frozenset[str]
    functions: Annotated[tuple[KernelFunction, ...], msgspec.Meta(min_length=1)]
    requires: tuple[str, ...] = ()
    level: Literal["system", "function"] = "system"
    why: str = ""
    claims: frozenset[str] = frozenset()
    note: str = ""


def load_catalogue(text: str | bytes) -> dict[str, Patch]:
    """Read the patches of a catalogue file in file order, which is upstream order, oldest first.

    Raises CatalogueError, in one line, for anything that would make a verdict or a closure wrong.
    """
    try:
        patches = msgspec.yaml.decode(text, type=list[Patch])
    except msgspec.DecodeError as error:
        raise CatalogueError(f"catalogue: {' '.join(str(error).split())}") from error
    by_id: dict[str, Patch] = {}
    for patch in patches:
        if patch.id in by_id:
            raise CatalogueError(f"catalogue: patch '{patch.id}' stands there twice")
        by_id[patch.id] = patch
    for patch in patches:
        _check_effects(patch)
    _check_requires(by_id)
    return by_id


def _check_effects(patch: Patch) -> None:
    unknown = sorted((patch.allowed | patch.forbidden) - EFFECTS.keys())
    if unknown:
        raise CatalogueError(f"catalogue: patch '{patch.id}' names the unknown effect '{unknown[0]}'")
    both = sorted(patch.allowed & patch.forbidden)
    if both:
        raise CatalogueError(f"catalogue: patch '{patch.id}' both allows and forbids '{both[0]}'")
    if patch.kind == "equivalence" and patch.allowed:
        raise CatalogueError(f"catalogue: patch '{patch.id}' is an equivalence and may allow nothing")
    if (patch.level == "function") != bool(patch.why):
        raise CatalogueError(f"catalogue: patch '{patch.id}' must say why if, and only if, its level is function")


def _check_requires(by_id: Mapping[str, Patch]) -> None:
    for patch in by_id.values():
        for required in patch.requires:
            if required not in by_id:
                raise CatalogueError(f"catalogue: patch '{patch.id}' requires the unknown patch '{required}'")
    try:
        TopologicalSorter({patch.id: patch.requires for patch in by_id.values()}).prepare()
    except CycleError as error:
        raise CatalogueError(f"catalogue: patches require each other: {' -> '.join(error.args[1])}") from error


def _load_all() -> dict[str, Patch]:
    # Each file is a YAML sequence at column 0, so all of them together are one: `requires` may cross files.
    folder = files(__package__) / "catalogue"
    return load_catalogue(b"\n".join((folder / name).read_bytes() for name in _CATALOGUE_FILES))


PATCHES: Final[dict[str, Patch]] = _load_all()
"""Every patch by id, in upstream order, oldest first."""

PLACEBOS: Final[dict[str, frozenset[str]]] = {
    "placebo-points": frozenset(),
    "placebo-flush": frozenset(
        {"more-flushes", "more-spte-changes", "more-pml-entries", "more-dirty-reports", "fewer-dirty-reports"}
        # A vCPU thrown out of the guest arrives later: somebody else may have fixed or logged what it would have.
        | {"spurious-instead-of-fixed", "fewer-pml-entries"}
        | {"raw-accessed-bit", "raw-dirty-bit", "young-false-positive", "host-flags-differ"}
        | {f"{outcome}-instead-of-none" for outcome in ("fixed", "fast", "spurious", "retry", "frozen")}
    ),
}
"""Switches that no commit stands behind, used to test the lockstep, with the effects each may show: one adds preemption
points, the other a flush that nothing needs, with all that a flush drags along (see the head of x86_mmu.yaml)."""


def unknown_patch(name: str) -> UnknownPatch:
    """The exception to raise for `name`: one line with the closest known ids."""
    close = difflib.get_close_matches(name, [*PATCHES, *PLACEBOS], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "'mmufuzz patches' lists them"
    return UnknownPatch(f"unknown patch {name!r}: {hint}")


def closure(ids: Iterable[str]) -> frozenset[str]:
    """`ids` and everything they require. Placebos require nothing. Raises UnknownPatch."""
    closed: set[str] = set()
    todo = list(ids)
    while todo:
        patch_id = todo.pop()
        if patch_id in closed:
            continue
        closed.add(patch_id)
        if patch_id in PATCHES:
            todo.extend(PATCHES[patch_id].requires)
        elif patch_id not in PLACEBOS:
            raise unknown_patch(patch_id)
    return frozenset(closed)


def dependents(ids: Iterable[str]) -> frozenset[str]:
    """`ids` and everything that requires one of them: what must go off with them. Raises UnknownPatch."""
    gone = set(ids)
    for patch_id in gone:
        if patch_id not in PATCHES and patch_id not in PLACEBOS:
            raise unknown_patch(patch_id)
    return frozenset(gone | {patch_id for patch_id in PATCHES if not gone.isdisjoint(closure([patch_id]))})
