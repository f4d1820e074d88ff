# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue: one `Patch` for each upstream commit that the model can switch on and off by itself."""

import difflib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from itertools import chain
from typing import Annotated, Final, Literal

import msgspec

from ..record import Record
from .effects import EFFECTS

# One file per upstream series, in the order in which they were applied.
_CATALOGUE_FILES: Final = ("no_struct_page.yaml", "x86_mmu.yaml")
# Stands in `requires` for every patch above it in the same file.
_ALL_ABOVE: Final = "*"

PatchId = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
KernelFunction = Annotated[str, msgspec.Meta(pattern=r"^[\w./-]+:\w+$")]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Arch = Literal["common", "x86", "arm64", "riscv", "loongarch", "mips", "powerpc", "s390"]
Area = Literal[
    "iter",
    "zap",
    "cleanup",
    "aging",
    "spte-bits",
    "tlb-flush",
    "fault",
    "api",
    "refcount",
    "page-flags",
    "gup",
    "vcpu-map",
    "prefetch",
    "apic-page",
    "guest-memfd",
]


class CatalogueError(ValueError):
    """A catalogue file contradicts itself, the vocabulary of effects or the schema of `Patch`."""


class UnknownPatch(ValueError):
    """A name that is not in the catalogue, or a semantics spec that makes no sense. The message is one line."""


class Patch(Record, forbid_unknown_fields=True):
    """One upstream commit.

    `kind`       semantic: changes what can be observed; cost: changes only how much work is done; equivalence: neither;
                 series: the merge of a whole series, which changes nothing by itself.
    `arch`       the architecture whose code changes; common: virt/kvm, which all of them call.
    `flavour`    of arch powerpc, which of its MMUs.
    `mmu`        of arch x86, which of its MMUs, where that says something.
    `requires`   patches without which this one makes a kernel that nobody ever ran (a broken one); "*" in a file stands
                 for all entries above.
    `listed`     false: no row of the changelog, but it changes behaviour that rows build on, so it has a switch, too.
    `modelled`   false: the model does not read its switch yet, so it changes nothing.
    `level`      function: no in-tree caller can show the change to a guest or to userspace; `why` says why not.
    `allowed`    effects that the commit message announces or tolerates, or that follow from these without any further
                 cause.
    `announced`  those of them that the message speaks of.
    `forbidden`  effects that the commit message or safety excludes.
    `claims`     invariants whose violation in old the commit message says it fixes.
    `functions`  kernel functions touched, as "file:function".
    """

    id: PatchId
    title: Text
    upstream: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")]
    area: Area
    kind: Literal["semantic", "cost", "equivalence", "series"]
    old: Text
    new: Text
    allowed: frozenset[str]
    forbidden: frozenset[str]
    functions: Annotated[tuple[KernelFunction, ...], msgspec.Meta(min_length=1)]
    arch: Arch = "x86"
    flavour: Literal["e500", "book3s_hv", "book3s_radix", "book3s_pr"] | None = None
    mmu: Literal["tdp", "shadow", "both", "common"] | None = None
    requires: tuple[str, ...] = ()
    level: Literal["system", "function"] = "system"
    why: str = ""
    announced: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    note: str = ""
    listed: bool = True
    modelled: bool = True


LEFT_ASIDE: Final = frozenset({"fewer-page-lookups"})
"""The effects that a proof of an equivalence leaves aside, which may therefore be allowed to one: who is given the page
need not look it up by its pfn, and does the same with it."""


def changes_nothing(patch: Patch) -> bool:
    """Is it an equivalence, or a merge, which is its rows? Then it is proven, and not exposed."""
    return patch.kind in ("equivalence", "series")


def load_catalogue(text: str | bytes) -> dict[str, Patch]:
    """Read the patches of a catalogue file in file order, which is upstream order, oldest first.

    Raises CatalogueError, in one line, for anything that would make a verdict or a closure wrong.
    """
    return _checked(_decoded(text))


def _decoded(text: str | bytes) -> list[Patch]:
    try:
        patches = msgspec.yaml.decode(text, type=list[Patch])
    except msgspec.DecodeError as error:
        raise CatalogueError(f"catalogue: {' '.join(str(error).split())}") from error
    for place, patch in enumerate(patches):
        if _ALL_ABOVE in patch.requires:
            above = tuple(other.id for other in patches[:place])
            patches[place] = msgspec.structs.replace(patch, requires=above)
    return patches


def _checked(patches: Iterable[Patch]) -> dict[str, Patch]:
    by_id: dict[str, Patch] = {}
    for patch in patches:
        if patch.id in by_id:
            raise CatalogueError(f"catalogue: patch '{patch.id}' stands there twice")
        by_id[patch.id] = patch
    for patch in by_id.values():
        _check_effects(patch)
    _check_requires(by_id)
    return by_id


def _check_effects(patch: Patch) -> None:
    unknown = sorted((patch.allowed | patch.forbidden) - EFFECTS.keys())
    if unknown:
        raise CatalogueError(f"catalogue: patch '{patch.id}' names the unknown effect '{unknown[0]}'")
    unlisted = sorted(patch.announced - patch.allowed)
    if unlisted:
        raise CatalogueError(f"catalogue: patch '{patch.id}' announces '{unlisted[0]}', which it does not allow")
    both = sorted(patch.allowed & patch.forbidden)
    if both:
        raise CatalogueError(f"catalogue: patch '{patch.id}' both allows and forbids '{both[0]}'")
    if changes_nothing(patch) and patch.allowed - LEFT_ASIDE:
        raise CatalogueError(f"catalogue: patch '{patch.id}' is of kind {patch.kind} and may allow nothing of the kind")
    if patch.flavour is not None and patch.arch != "powerpc":
        raise CatalogueError(f"catalogue: patch '{patch.id}' has a flavour, which is for powerpc")
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


def _load_series() -> dict[str, list[Patch]]:
    folder = files(__package__) / "catalogue"
    return {
        name.removesuffix(".yaml").replace("_", "-"): _decoded((folder / name).read_bytes())
        for name in _CATALOGUE_FILES
    }


_BY_SERIES: Final = _load_series()

PATCHES: Final[dict[str, Patch]] = _checked(chain.from_iterable(_BY_SERIES.values()))
"""Every patch by id, in upstream order, oldest first, those that no changelog lists among them."""

SERIES: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(patch.id for patch in patches) for name, patches in _BY_SERIES.items()
}
"""The ids of each upstream series, in the order in which the series were applied."""

PLACEBOS: Final[dict[str, frozenset[str]]] = {
    "placebo-points": frozenset(),
    "placebo-flush": frozenset(
        {"more-flushes", "more-spte-changes", "more-pml-entries", "more-dirty-reports", "fewer-dirty-reports"}
        # A vCPU thrown out of the guest arrives later: somebody else may have fixed or logged what it would have, or
        # have aged the page.
        | {"spurious-instead-of-fixed", "fewer-pml-entries"}
        | {"raw-accessed-bit", "raw-dirty-bit", "young-false-positive", "young-false-negative"}
        | {"host-flags-differ", "more-accessed-marks", "more-page-lookups"}
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


def series_of(patch_id: str) -> str:
    """The series that a patch came with. Raises UnknownPatch."""
    for name, ids in SERIES.items():
        if patch_id in ids:
            return name
    raise unknown_patch(patch_id)


def can_be_cause(patch_id: str) -> bool:
    """May a difference be attributed to it? To a placebo, and to a patch that the model has; a merge is its rows."""
    if patch_id in PLACEBOS:
        return True
    patch = PATCHES[patch_id]
    return patch.modelled and patch.kind != "series"


def not_modelled(patch_id: str) -> str:
    """The line that says why nothing can be asked about a patch yet, or about a merge at all."""
    if PATCHES[patch_id].kind == "series":
        return f"'{patch_id}' is a merge: it changes nothing beside its members"
    return f"'{patch_id}' is not modelled yet: its switch changes nothing; 'mmufuzz patches' lists what is"
