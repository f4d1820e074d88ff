# SPDX-License-Identifier: GPL-2.0-only
"""Every commit of the catalogue as a page shows it."""

from collections import Counter
from functools import cache
from typing import Final, Literal, get_args

from fuzzer.change.fold import FoldError, patch_diff
from fuzzer.change.listed_patch import ListedPatch, arch_words, details, listed
from fuzzer.checked import STATES, State
from reference_mmu.changelog.patches import PATCHES, SERIES
from reference_mmu.record import Record

Grouping = Literal["series and architecture", "series", "architecture", "kind", "state"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)
# What tells the states apart where colours do not.
SIGNS: Final[dict[State, str]] = {
    "exposed": "!",
    "proven": "=",
    "not equivalent alone": "≠",
    "no difference found": "?",
    "not checked yet": "…",
    "not modelled yet": "·",
    "missing": "x",
}


class Commit(Record):
    """A patch of the catalogue, where it is in the model, and how many findings are attributed to it."""

    entry: ListedPatch
    findings: int


@cache
def catalogue() -> tuple[ListedPatch, ...]:
    """Every patch, upstream order.  The sources of a running server do not change."""
    return tuple(listed(patch) for patch in PATCHES.values())


class Chapter(Record):
    """Commits that have something in common."""

    title: str
    commits: tuple[ListedPatch, ...]

    @property
    def rows(self) -> list[ListedPatch]:
        """The commits that are rows of the changelog."""
        return [entry for entry in self.commits if entry.patch.listed]


@cache
def chapters(by: Grouping = "series and architecture") -> tuple[Chapter, ...]:
    """The catalogue in groups, series and what is in them in the order in which they were applied."""
    groups: dict[str, list[ListedPatch]] = {state: [] for state in STATES} if by == "state" else {}
    for entry in catalogue():
        groups.setdefault(title_of(entry, by), []).append(entry)
    return tuple(Chapter(title, tuple(entries)) for title, entries in groups.items() if entries)


def title_of(entry: ListedPatch, by: Grouping) -> str:
    """The heading that a commit stands below."""
    match by:
        case "series and architecture":
            return f"{entry.series}: {arch_words(entry.patch)}"
        case "series":
            return entry.series
        case "architecture":
            return arch_words(entry.patch)
        case "kind":
            return entry.patch.kind
        case "state":
            return entry.state


class StateCount(Record):
    """How many rows stand alike: of each series, in the order of `SERIES`, and of all."""

    state: State
    by_series: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.by_series)


@cache
def state_counts() -> tuple[StateCount, ...]:
    """The states that there are among the rows of the changelog."""
    counts = Counter((entry.state, entry.series) for entry in catalogue() if entry.patch.listed)
    told = [StateCount(state, tuple(counts[state, series] for series in SERIES)) for state in STATES]
    return tuple(count for count in told if count.total)


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
