# SPDX-License-Identifier: GPL-2.0-only
"""A patch as it is listed: what the catalogue says of it, and where the model asks whether it is on."""

from collections.abc import Iterator
from typing import Literal

from fuzzer.change.fold import patch_sites
from fuzzer.oracle.invariants import INVARIANTS
from reference_mmu.changelog.effects import EFFECTS
from reference_mmu.changelog.patches import Patch
from reference_mmu.record import Record


class PatchSite(Record):
    """A place where the model asks whether the patch is on."""

    file: str
    line: int
    function: str


class ListedPatch(Record):
    """One patch in the JSON of `patches`: the catalogue's entry and where it is in the model."""

    patch: Patch
    state: Literal["switchable", "not modelled yet", "merge", "missing"]
    """not modelled yet: it has a switch that changes nothing so far; merge: nor will it, apart from its members;
    missing: it changes nothing, and the catalogue says otherwise."""
    sites: tuple[PatchSite, ...]


def listed(patch: Patch) -> ListedPatch:
    """The row of a patch.  Raises FoldError if the sources of the model cannot be read."""
    sites = tuple(PatchSite(site.file, site.line, site.function) for site in patch_sites(patch.id))
    if not patch.modelled:
        return ListedPatch(patch, "merge" if patch.kind == "series" else "not modelled yet", sites)
    return ListedPatch(patch, "switchable" if sites else "missing", sites)


def arch_words(patch: Patch) -> str:
    """Whose code it changes."""
    return "common code" if patch.arch == "common" else patch.arch


def whereabouts(patch: Patch) -> Iterator[str]:
    """Whose code it changes, and which of its MMUs, each in words."""
    yield arch_words(patch)
    if patch.flavour is not None:
        yield patch.flavour.replace("_", " ")
    if patch.mmu is not None and patch.mmu != "common":
        yield f"{patch.mmu} MMU{'s' if patch.mmu == 'both' else ''}"


def details(row: ListedPatch) -> Iterator[tuple[str, str]]:
    """A patch as labelled texts."""
    patch = row.patch
    yield "patch", patch.id
    yield "title", patch.title
    yield "commit", patch.upstream
    yield "kind", ", ".join((patch.kind, patch.area, *whereabouts(patch)))
    yield "requires", ", ".join(patch.requires) or "nothing"
    yield "old", patch.old
    yield "new", patch.new
    if patch.why:
        yield "invisible", f"at system level, {patch.why}"
    for effect in sorted(patch.allowed):
        yield "allowed", f"{effect}: {EFFECTS[effect]}"
    for effect in sorted(patch.forbidden):
        yield "forbidden", f"{effect}: {EFFECTS[effect]}"
    for invariant in sorted(patch.claims):
        yield "fixes", f"{invariant}: {INVARIANTS[invariant]}"
    if patch.note:
        yield "note", patch.note
    for function in patch.functions:
        yield "in Linux", function
    if not patch.listed:
        yield "listed", "no: switchable, but no row of the changelog"
    if row.state in ("not modelled yet", "merge"):
        yield (
            "in the model",
            "not yet: its switch changes nothing" if row.state == "not modelled yet" else "its members",
        )
    for site in row.sites:
        yield "in the model", f"{site.file}:{site.line} {site.function}()"
