# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of a change a search has run: a change that nobody came by has not been tried.

A statement that the change adds or alters notes that it was reached. The note stands on the statement's own line, so
that all lines keep their numbers:

    APPLIED.reached(0); fault.mmu_seq = kvm.mmu_invalidate_seq
    if APPLIED.reached(1) and (flush):

A loop and a `with` are noted by the first statement inside. Where lines are only taken away, the statement that comes
next in the same block is noted, or else the last one before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Final, NamedTuple

_IMPORT: Final = "from fuzzer.change.applied import APPLIED"


class Place(NamedTuple):
    """A statement of the changed model: the file, below reference_mmu, and its first line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"reference_mmu/{self.file}:{self.line}"


class _Note(NamedTuple):
    """A piece of text to put in, at a column in bytes of a line counted from 1."""

    line: int
    column: int
    text: str


def places_of(old: Mapping[str, str], new: Mapping[str, str]) -> list[Place]:
    """The statements inside functions that NEW alone has, by file and line. Files that do not parse have none."""
    return [Place(file, one.lineno) for file in sorted(new) for one in _changed(old.get(file, ""), new[file])]


def with_notes(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """NEW's files, in which each of places_of() notes by its number in that list that it was reached."""
    noted, number = {}, 0
    for file in sorted(new):
        statements = _changed(old.get(file, ""), new[file])
        notes = [note for at, one in enumerate(statements, number) for note in _notes(one, at)]
        number += len(statements)
        noted[file] = _put_in(new[file], [*notes, _importing(new[file])]) if notes else new[file]
    return noted


def _changed(old: str, new: str) -> list[ast.stmt]:
    """The statements to note, each once, by line."""
    try:
        tree = ast.parse(new)
    except (SyntaxError, ValueError, RecursionError):
        return []  # whoever loads it says so
    blocks = [block for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for block in _blocks(node)]
    was, now = old.split("\n"), new.split("\n")
    found: dict[tuple[int, int], ast.stmt] = {}
    for kind, gone, gone_end, first, end in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        touched = (
            _next_in_block(blocks, first + 1, was[gone:gone_end])
            if kind == "delete"
            else _within(blocks, first + 1, end)
        )
        for noted in map(_noted_by, touched):
            found[noted.lineno, noted.col_offset] = noted
    return [found[place] for place in sorted(found)]


def _within(blocks: list[list[ast.stmt]], first: int, last: int) -> list[ast.stmt]:
    """The statements of lines `first` to `last`."""
    return [one for block in blocks for one in block if one.lineno <= last and _last_line(one) >= first]


def _next_in_block(blocks: list[list[ast.stmt]], line: int, gone: list[str]) -> list[ast.stmt]:
    """The statement after the lines that are gone from before `line`, in the block that they were in."""
    indent = next((len(text) - len(text.lstrip()) for text in gone if text.strip()), 0)
    around = (block for block in blocks if block[0].lineno <= line <= _end(block[-1]) + 1)
    return [
        next((one for one in block if one.lineno >= line), block[-1])
        for block in around
        if block[0].col_offset == indent
    ]


def _blocks(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    """Every run of statements in a function, without docstrings and inner functions."""
    waiting: list[ast.AST] = [function]
    while waiting:
        node = waiting.pop()
        for field in ("body", "orelse", "finalbody"):
            block = [one for one in getattr(node, field, ()) if isinstance(one, ast.stmt) and not _is_string(one)]
            if block:
                yield block
        waiting += [
            inner
            for inner in ast.iter_child_nodes(node)
            if isinstance(inner, ast.stmt | ast.excepthandler | ast.match_case)
            and not isinstance(inner, ast.FunctionDef | ast.ClassDef)
        ]


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _last_line(node: ast.stmt) -> int:
    """The last line of a statement, or of the head of one with a block inside."""
    inside = _inside(node)
    return max(node.lineno, inside[0].lineno - 1) if inside else _end(node)


def _inside(node: ast.stmt) -> list[ast.stmt]:
    """The first block inside a statement, none if it is a simple one."""
    match node:
        case ast.Match():
            return node.cases[0].body
        case ast.If() | ast.While() | ast.For() | ast.With() | ast.Try():
            return node.body
    return []


def _noted_by(node: ast.stmt) -> ast.stmt:
    """The statement that tells that this one was reached."""
    while not isinstance(node, ast.If | ast.While) and _inside(node):
        node = _inside(node)[0]
    return node


def _notes(node: ast.stmt, number: int) -> Iterator[_Note]:
    reached = f"APPLIED.reached({number})"
    if isinstance(node, ast.If | ast.While):
        test = node.test
        yield _Note(test.lineno, test.col_offset, f"{reached} and (")
        yield _Note(test.end_lineno or test.lineno, test.end_col_offset or 0, ")")
    else:
        yield _Note(node.lineno, node.col_offset, f"{reached}; ")


def _importing(text: str) -> _Note:
    """The import, on the line of the module's first statement that is one itself."""
    body = ast.parse(text).body
    last = [one for one in body if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
    if last:
        return _Note(_end(last[-1]), last[-1].end_col_offset or 0, f"; {_IMPORT}")
    first = next(one for one in body if not _is_string(one))
    return _Note(first.lineno, 0, f"{_IMPORT}; " if isinstance(first, ast.Import | ast.ImportFrom) else f"{_IMPORT}\n")


def _put_in(text: str, notes: list[_Note]) -> str:
    lines = text.encode().split(b"\n")
    for note in sorted(notes, key=lambda note: (note.line, note.column), reverse=True):
        line = lines[note.line - 1]
        lines[note.line - 1] = line[: note.column] + note.text.encode() + line[note.column :]
    return b"\n".join(lines).decode()
