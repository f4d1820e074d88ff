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
    state: Literal["switchable", "missing"]
    """missing: the model reads its flag nowhere."""
    sites: tuple[PatchSite, ...]


def listed(patch: Patch) -> ListedPatch:
    """The row of a patch.  Raises FoldError if the sources of the model cannot be read."""
    sites = tuple(PatchSite(site.file, site.line, site.function) for site in patch_sites(patch.id))
    return ListedPatch(patch, "switchable" if sites else "missing", sites)


def details(row: ListedPatch) -> Iterator[tuple[str, str]]:
    """A patch as labelled texts."""
    patch = row.patch
    yield "patch", patch.id
    yield "title", patch.title
    yield "commit", patch.upstream
    yield (
        "kind",
        f"{patch.kind}, {patch.area}, {patch.mmu} MMU" if patch.mmu != "common" else f"{patch.kind}, {patch.area}",
    )
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
    for site in row.sites:
        yield "in the model", f"{site.file}:{site.line} {site.function}()"
