# SPDX-License-Identifier: GPL-2.0-only
"""Every commit of the catalogue as a page shows it."""

from functools import cache

from fuzzer.change.fold import FoldError, patch_diff
from fuzzer.change.listed_patch import ListedPatch, arch_words, details, listed
from reference_mmu.changelog.patches import PATCHES, series_of
from reference_mmu.record import Record


class Commit(Record):
    """A patch of the catalogue, where it is in the model, and how many findings are attributed to it."""

    entry: ListedPatch
    findings: int


@cache
def catalogue() -> tuple[ListedPatch, ...]:
    """Every patch, upstream order.  The sources of a running server do not change."""
    return tuple(listed(patch) for patch in PATCHES.values())


class Chapter(Record):
    """Commits of one series that change the same code: an architecture's, or that of all of them."""

    series: str
    where: str
    commits: tuple[ListedPatch, ...]


@cache
def chapters() -> tuple[Chapter, ...]:
    """The catalogue by series, in the order in which they were applied, and by architecture."""
    by_place: dict[tuple[str, str], list[ListedPatch]] = {}
    for entry in catalogue():
        patch = entry.patch
        by_place.setdefault((series_of(patch.id), arch_words(patch)), []).append(entry)
    return tuple(Chapter(series, where, tuple(entries)) for (series, where), entries in by_place.items())


@cache
def diff_of(patch_id: str) -> str:
    """What the patch changes, as a diff of the model; a line that says why if there is none."""
    try:
        return patch_diff(patch_id) or "the model reads its flag nowhere, so there is no diff\n"
    except FoldError as error:
        return f"no diff: {error}\n"


def labelled_details(entry: ListedPatch) -> list[tuple[str, str]]:
    """The lines of `mmufuzz patches show`."""
    return list(details(entry))
