# SPDX-License-Identifier: GPL-2.0-only
"""Every commit of the catalogue as a page shows it."""

from functools import cache

from fuzzer.change.fold import FoldError, patch_diff
from fuzzer.change.listed_patch import ListedPatch, details, listed
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.record import Record


class Commit(Record):
    """A patch of the catalogue, where it is in the model, and how many findings are attributed to it."""

    entry: ListedPatch
    findings: int


@cache
def catalogue() -> tuple[ListedPatch, ...]:
    """Every patch, upstream order.  The sources of a running server do not change."""
    return tuple(listed(patch) for patch in PATCHES.values())


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
