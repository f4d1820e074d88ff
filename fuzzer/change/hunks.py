# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a change, each of which can be made without the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from fuzzer.change.variant import Sides

HUNKS_MAX: Final = 16
"""Parts that a change is taken apart into, at most: each costs a copy of the model."""
_CONTEXTS: Final = (0, 1, 3, 20)
"""Lines in common that keep two parts in one, tried in this order until they are few enough."""


class Hunk(NamedTuple):
    """Lines `first` to `last` of OLD's file, counted from 0 and without the last, become `text`; `line` is where that
    begins in NEW's, counted from 1."""

    file: str
    line: int
    first: int
    last: int
    text: tuple[str, ...]

    def __str__(self) -> str:
        return f"reference_mmu/{self.file}:{self.line}"


def hunks_of(sides: Sides) -> list[Hunk]:
    """What NEW changes, by file and line, in HUNKS_MAX parts or a part per file."""
    for context in _CONTEXTS:
        hunks = [hunk for file in sorted(sides.new) for hunk in _hunks(sides, file, context)]
        if len(hunks) <= HUNKS_MAX:
            return hunks
    return [hunk for file in sorted(sides.new) for hunk in _hunks(sides, file, None)]


def with_hunks(sides: Sides, hunks: Collection[Hunk]) -> dict[str, str]:
    """The changed files as they are with these parts alone."""
    made = {}
    for file in sides.new:
        lines = sides.old.get(file, "").splitlines(keepends=True)
        for hunk in sorted((one for one in hunks if one.file == file), reverse=True):
            lines[hunk.first : hunk.last] = hunk.text
        made[file] = "".join(lines)
    return made


def _hunks(sides: Sides, file: str, context: int | None) -> Iterator[Hunk]:
    """The parts of one file; all of it is one without `context`."""
    old = sides.old.get(file, "").splitlines(keepends=True)
    new = sides.new[file].splitlines(keepends=True)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    changed = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    groups: list[list[tuple[str, int, int, int, int]]] = []
    for code in changed:
        if groups and (context is None or code[1] - groups[-1][-1][2] <= context):
            groups[-1].append(code)
        else:
            groups.append([code])
    for group in groups:
        first, last, begins, ends = group[0][1], group[-1][2], group[0][3], group[-1][4]
        yield Hunk(file, begins + 1, first, last, tuple(new[begins:ends]))
