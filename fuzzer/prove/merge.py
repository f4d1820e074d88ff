# SPDX-License-Identifier: GPL-2.0-only
"""A merge is the rows of its series, and nothing beside them.

What a merge changes is asked of its rows, one by one. Of the merge itself three things are left to be shown: that its
rows make a kernel at each step of the way from the one to the other, that the model nowhere asks whether it is there,
and that programs do the same with its rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from fuzzer.change.fold import flag_name, fold, model_sources
from fuzzer.prove.equivalences import lockstep
from fuzzer.prove.sweep import InputCase, SemanticsPair, Sweep
from reference_mmu.changelog.patches import SERIES, closure, series_of
from reference_mmu.changelog.semantics import BASES, OLD, Semantics


def row_cases(merge: str, base: str, sides: SemanticsPair) -> Iterator[InputCase]:
    """Every row of the series, applied to those before it; then all of them, from both ends."""
    rows = [row for row in SERIES[series_of(merge)] if row != merge]
    applied: set[str] = set()
    for row in rows:
        applied.add(row)
        yield InputCase((row,), frozenset(applied), closure(applied))
        yield InputCase((f"{row} among the changes",), True, row in sides.before.patches)
    merged = BASES[base].patches
    yield InputCase(("what the rows add to the kernel before",), merged, OLD.patches | set(rows) | {merge})
    yield InputCase(("what is left without the rows",), OLD.patches, merged - set(rows) - {merge})
    yield InputCase(("what the merge adds to its rows",), {merge}, sides.after.patches - sides.before.patches)
    yield InputCase(("a kernel without one row",), set(), {row for row in rows if is_kernel(merged - {row})})


def is_kernel(patches: frozenset[str]) -> bool:
    try:
        Semantics(patches)
    except ValueError:  # a patch requires what is missing
        return False
    return True


def source_cases(merge: str, _: SemanticsPair) -> Iterator[InputCase]:
    """Every module of the model, as it reads without the merge and with it."""
    for name, text in model_sources():
        yield InputCase((name,), fold(text, flag_name(merge), False), fold(text, flag_name(merge), True))


def merge_sweeps(merge: str, base: str) -> tuple[Sweep, ...]:
    """What has to be shown of a merge that made the kernel `base`."""
    return (
        Sweep(
            "the rows of the series: each applies to those before it, all of them make the kernel that was merged, and"
            " without any of them it is none",
            ("row",),
            partial(row_cases, merge, base),
        ),
        Sweep(
            "no module of the model asks for the merge: source of the model", ("module",), partial(source_cases, merge)
        ),
        lockstep("pages"),
        lockstep("vcpu-map"),
    )


MERGE_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "series-kvm-no-struct-page": merge_sweeps("series-kvm-no-struct-page", "no-struct-page")
}
"""By merge, as SWEEPS in equivalences.py."""
