# SPDX-License-Identifier: GPL-2.0-only
"""What of the model runs only on the side of a proof that has the patch.

That is what the switch selects: of each function that reads it, the lines that stand there with the patch and not
without; where a commit only takes something away, the whole function as it is then. And every function that nobody
else calls.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from functools import cache
from typing import Final, NamedTuple

from fuzzer.change.edits import Edit, apply_edits, expressions_of, functions_of, statements_of
from fuzzer.change.fold import MODEL, flag_name, fold, model_sources
from fuzzer.prove.breaks import is_switch

Function = ast.FunctionDef
_DEFINED: Final = re.compile(r"^def (\w+)\(", re.MULTILINE)
Where = tuple[str, str]
"""A module, as in model_sources(), and the qualified name of a function."""


class AfterSide(NamedTuple):
    """A function, or part of one, that runs only with the patch.

    `text`    its module as it reads with the patch, the switch folded out.
    `lines`   the lines of `text` that run only then.
    `before`  the function without the patch; None: nobody calls it then.
    `switch`  the expression that says whether the patch is on, in terms of the function's parameters; "" without
              `before`.
    """

    module: str
    function: str
    text: str
    lines: frozenset[int]
    before: Function | None = None
    switch: str = ""

    @property
    def path(self) -> str:
        """The module below reference_mmu."""
        return self.module.removeprefix(f"{MODEL}/")

    def tree(self) -> Function:
        return dict(functions_of(ast.parse(self.text)))[self.function]


class Flags(NamedTuple):
    """Switches of the sides of a proof: that of the patch; those that are on with it, if it is half an equivalence; and
    those of patches that require it, which are off on both."""

    own: str
    others: frozenset[str]
    never: frozenset[str]


def after_sides(patch_id: str, together: frozenset[str], never: frozenset[str]) -> tuple[AfterSide, ...]:
    """What runs only with the patch: what reads the switch first, in the order of modules and functions. `together`:
    patches that are on and off with this one; `never`: patches that are off."""
    flags = Flags(
        flag_name(patch_id), frozenset(map(flag_name, together - {patch_id})), frozenset(map(flag_name, never))
    )
    selected = list(selected_parts(flags))
    return (*selected, *only_called_by(flags, selected))


def selected_parts(flags: Flags) -> Iterator[AfterSide]:
    flag = flags.own
    for module, text in model_sources():
        if flag not in text:
            continue
        asked = folded(text, flags.never, False)
        for each in (flag, *sorted(flags.others)):
            asked = asked_in_place(asked, each)
        with_others = folded(asked, flags.others, True)
        off, on = fold(with_others, flag, False), fold(with_others, flag, True)
        if off == on:
            continue
        added = lines_added(off, on)
        before, after = (
            dict(functions_of(ast.parse(source))) for source in (folded(asked, flags.others | {flag}, False), on)
        )
        for name, function in functions_of(ast.parse(with_others)):
            if not any(isinstance(node, ast.Attribute) and node.attr == flag for node in ast.walk(function)):
                continue
            lines = body_lines(after[name]) & added or own_lines(after[name])
            yield AfterSide(module, name, on, lines, before[name], switch_of(function, flag))


def folded(text: str, flags: Iterable[str], value: bool) -> str:
    for flag in sorted(flags):
        text = fold(text, flag, value)
    return text


def asked_in_place(text: str, flag: str) -> str:
    """The module with each variable that only keeps the switch replaced by the switch, so that folding sees through
    it."""
    edits: list[Edit] = []
    for _, function in functions_of(ast.parse(text)):
        for stmt in statements_of(function):
            match stmt:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr=attr) as switch) if attr == flag:
                    asked = ast.unparse(switch)
                    uses = [node for node in expressions_of(function) if isinstance(node, ast.Name) and node.id == name]
                    edits += [Edit(use, asked) for use in uses if isinstance(use.ctx, ast.Load)]
                    edits.append(Edit(stmt, "pass"))
    return apply_edits(text, edits)


def lines_added(off: str, on: str) -> frozenset[int]:
    """The lines of `on` that `off` has not, from 1."""
    matcher = SequenceMatcher(None, off.splitlines(), on.splitlines(), autojunk=False)
    return frozenset(
        line + 1 for tag, _, _, first, end in matcher.get_opcodes() if tag != "equal" for line in range(first, end)
    )


def body_lines(function: Function) -> frozenset[int]:
    """The lines of a function's statements; what documents it is none."""
    return frozenset(line for stmt in statements_of(function) if not is_text(stmt) for line in lines_of(stmt))


def own_lines(function: Function) -> frozenset[int]:
    """The lines of a function without what other commits select."""
    selected = [stmt for stmt in statements_of(function) if isinstance(stmt, ast.If) and is_switch(stmt.test)]
    inside = {
        line for stmt in selected for node in ast.walk(stmt) if isinstance(node, ast.stmt) for line in lines_of(node)
    }
    return body_lines(function) - inside


def is_text(stmt: ast.stmt) -> bool:
    return isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)


def lines_of(stmt: ast.stmt) -> range:
    """The lines of a statement; of one with a body, those of its head."""
    body: list[ast.stmt] = getattr(stmt, "body", [])
    return range(stmt.lineno, max(body[0].lineno, stmt.lineno + 1) if body else (stmt.end_lineno or stmt.lineno) + 1)


def switch_of(function: Function, flag: str) -> str:
    """How the function asks for the switch; what it has put into a variable for that is written out."""
    use = next(node for node in ast.walk(function) if isinstance(node, ast.Attribute) and node.attr == flag)
    root: ast.expr = use
    while isinstance(root, ast.Attribute):
        root = root.value
    text = ast.unparse(use)
    parameters = {argument.arg for argument in function.args.args}
    if isinstance(root, ast.Name) and root.id not in parameters:
        for stmt in statements_of(function):
            match stmt:
                case ast.Assign(targets=[ast.Name(id=root.id)], value=value):
                    return f"{ast.unparse(value)}{text.removeprefix(root.id)}"
    return text


# --- functions that nobody else calls ----------------------------------------------------------------------------


def only_called_by(flags: Flags, selected: Iterable[AfterSide]) -> Iterator[AfterSide]:
    """The functions that `selected` and each other name, and nobody else without the patch."""
    homes = functions_by_name()
    wanted = {name for part in selected for name in names_in(part.tree(), part.lines)}
    found: dict[Where, AfterSide] = {}
    while True:
        reached = [
            where
            for name in sorted(wanted & homes.keys())
            if (where := homes[name]) not in found and who_names(name, flags) <= found.keys() | {where}
        ]
        if not reached:
            break
        for module, name in reached:
            text = folded(dict(model_sources())[module], flags.never, False)
            text = folded(text, flags.others | {flags.own}, True)
            function = dict(functions_of(ast.parse(text)))[name]
            found[module, name] = AfterSide(module, name, text, own_lines(function))
            wanted |= names_in(function)
    yield from (found[where] for where in sorted(found))


@cache
def functions_by_name() -> dict[str, Where]:
    """The functions of modules whose name no other one has."""
    homes: dict[str, list[Where]] = {}
    for module, text in model_sources():
        for name in _DEFINED.findall(text):
            homes.setdefault(name, []).append((module, name))
    return {name: places[0] for name, places in homes.items() if len(places) == 1}


def who_names(name: str, flags: Flags) -> set[Where]:
    """Where a function is named without the patch; imports do not count, and what stands in no function is ""."""
    off = flags.never | flags.others | {flags.own}
    return {
        where
        for module, text in model_sources()
        if name in text
        for where, names in _names_of(module, folded(text, off, False))
        if name in names
    }


@cache
def _names_of(module: str, text: str) -> list[tuple[Where, set[str]]]:
    tree = ast.parse(text)
    functions = list(functions_of(tree))
    inside = {id(node) for _, function in functions for node in ast.walk(function)}
    outside = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in inside}
    return [*(((module, name), names_in(function)) for name, function in functions), ((module, ""), outside)]


def names_in(function: Function, lines: frozenset[int] | None = None) -> set[str]:
    """What the function names, on some of its lines."""
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Name | ast.Attribute) and (lines is None or node.lineno in lines)
    }


# --- where that is in the shipped source -------------------------------------------------------------------------


def shipped_line(part: AfterSide, line: int) -> int:
    """The line of the shipped module where line `line` of `part.text` comes from, or the one before it."""
    pairs = [(1, 1), *_lines_kept(part.text, dict(model_sources())[part.module])]
    at = bisect_right(pairs, (line, _LAST)) - 1
    return pairs[at][1]


_LAST: Final = 1 << 30


@cache
def _lines_kept(text: str, shipped: str) -> list[tuple[int, int]]:
    matcher = SequenceMatcher(None, text.splitlines(), shipped.splitlines(), autojunk=False)
    return [(a + n + 1, b + n + 1) for a, b, size in matcher.get_matching_blocks() for n in range(size)]
