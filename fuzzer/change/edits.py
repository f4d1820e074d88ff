# SPDX-License-Identifier: GPL-2.0-only
"""Mechanical changes of a source: what is replaced by what, told by nodes of the syntax tree.

The tree only tells where things are; the rest of the text stays as it is, character by character.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

_WORDS_MAX: Final = 60  # of the text of a node in what is said about a change


class Edit(NamedTuple):
    """Replace what `node` spans."""

    node: ast.stmt | ast.expr
    text: str


class Change(NamedTuple):
    about: str
    edits: list[Edit]


def apply_edits(text: str, edits: list[Edit]) -> str:
    """Columns of the AST count bytes, so edits are made in bytes; the last one first, so that positions hold."""
    data = text.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, replacement in sorted(edits, key=lambda edit: -starts[edit.node.lineno - 1] - edit.node.col_offset):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        data = data[:start] + replacement.encode() + data[end:]
    return data.decode()


def functions_of(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function and method, by qualified name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    yield f"{node.name}.{method.name}", method


# Every operator reads the function that is being changed.
@lru_cache(maxsize=1)
def statements_of(function: ast.FunctionDef) -> list[ast.stmt]:
    """Every statement below the function, in source order."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


@lru_cache(maxsize=1)
def expressions_of(function: ast.FunctionDef) -> list[ast.expr]:
    """Every expression of the function's body, in source order; annotations are none."""
    found = [node for stmt in function.body for node in ast.walk(stmt) if isinstance(node, ast.expr)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def delete(stmt: ast.stmt) -> Edit:
    """A generator must stay one without its only `yield`."""
    generator = any(isinstance(node, ast.YieldFrom | ast.Yield) for node in ast.walk(stmt))
    return Edit(stmt, "yield from ()" if generator else "pass")


def deletion(stmt: ast.stmt) -> Change:
    return Change(f"without `{words(stmt)}`", [delete(stmt)])


def replaced(node: ast.expr, text: str = "False") -> Change:
    return Change(f"`{words(node)}` is {text}", [Edit(node, text)])


def words(node: ast.AST) -> str:
    """The text of a node, in a line that is not too long."""
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= _WORDS_MAX else text[: _WORDS_MAX - 3] + "..."
