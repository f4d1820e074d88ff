# SPDX-License-Identifier: GPL-2.0-only
"""A patch as it is listed: what the catalogue says of it, where the model asks whether it is on, and what was shown."""

from collections.abc import Iterator
from typing import Final

from fuzzer.change.fold import patch_sites
from fuzzer.checked import Checked, State, checked_rows, state_of, told
from fuzzer.oracle.invariants import INVARIANTS
from reference_mmu.changelog.effects import EFFECTS
from reference_mmu.changelog.patches import Patch, changes_nothing, series_of
from reference_mmu.record import Record

_COMMIT_PAGE: Final = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/commit/?id="


class PatchSite(Record):
    """A place where the model asks whether the patch is on."""

    file: str
    line: int
    function: str


class ListedPatch(Record):
    """One patch in the JSON of `patches`: the catalogue's entry, where it is in the model, and how it stands there.

    `told`        the state in words, with its numbers.
    `checked`     what came out when it was last asked for; None if that was never.
    `reproducer`  a file of the checkout that shows it, or the command that finds one; "" if there is nothing to show.
    """

    patch: Patch
    series: str
    link: str
    state: State
    told: str
    sites: tuple[PatchSite, ...]
    checked: Checked | None
    reproducer: str


def listed(patch: Patch) -> ListedPatch:
    """The row of a patch.  Raises FoldError if the sources of the model cannot be read."""
    sites = tuple(PatchSite(site.file, site.line, site.function) for site in patch_sites(patch.id))
    checked = checked_rows().get(patch.id)
    state = state_of(patch, len(sites), checked)
    return ListedPatch(
        patch=patch,
        series=series_of(patch.id),
        link=_COMMIT_PAGE + patch.upstream,
        state=state,
        told=told(state, checked),
        sites=sites,
        checked=checked,
        reproducer=reproducer_of(patch, checked),
    )


def reproducer_of(patch: Patch, checked: Checked | None) -> str:
    """What shows again what was shown: the file, or the command."""
    if checked is None or not patch.modelled:
        return ""
    verb = "prove" if changes_nothing(patch) else "expose"
    return checked.reproducer or f"mmufuzz {verb} {patch.id}"


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
    yield "link", row.link
    yield "series", row.series
    yield "kind", ", ".join((patch.kind, patch.area, *whereabouts(patch)))
    yield "requires", ", ".join(patch.requires) or "nothing"
    yield "old", patch.old
    yield "new", patch.new
    if patch.why:
        yield "invisible", f"at system level, {patch.why}"
    for effect in sorted(patch.announced):
        yield "announced", f"{effect}: {EFFECTS[effect]}"
    for effect in sorted(patch.allowed - patch.announced):
        yield "follows", f"{effect}: {EFFECTS[effect]}"
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
    yield "state", row.told
    if row.checked is not None:
        yield "checked", f"with model {row.checked.model}"
        if row.checked.evidence:
            yield "seen", row.checked.evidence
    if row.reproducer:
        yield "again", row.reproducer
    for site in row.sites:
        yield "in the model", f"{site.file}:{site.line} {site.function}()"
