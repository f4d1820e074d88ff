# SPDX-License-Identifier: GPL-2.0-only
"""OLD and NEW of a user's change as one model, which can be compiled: each function that the change alters is there
twice, and a third of its name asks `APPLIED` which of them to run.

    def is_page_fault_stale(m: Machine, vcpu: KvmVcpu, fault: KvmPageFault) -> bool:
        if APPLIED.now:
            return is_page_fault_stale_with_change(m, vcpu, fault)
        return is_page_fault_stale_without_change(m, vcpu, fault)

What the change adds is there for both, and OLD never comes by it. What it alters otherwise cannot be there twice: a
constant, the attributes of a class, what a function is called with. Nor may it alter what the fuzzer asks when neither
of the two is running: both sides are compared, and judged, by the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Final, NamedTuple

_ASKS: Final = "from fuzzer.change.applied import APPLIED"
# What the fuzzer itself is made of; the rooms of mm/, kvm/ and the architectures are what machines are made of.
_NO_MACHINES: Final = ("changelog",)
# Compares machines after the run; what oracles ask during a run, they ask the machine whose turn it is.
_COMPARES: Final = "run/differential.py"
_ORACLES: Final = "oracle"


class Unmergeable(ValueError):
    """OLD and NEW cannot be one model; the message, one line, says what of the change is in the way."""


class _Function(NamedTuple):
    """A function as others name it: a method by its class, whatever the class is, or one of a module."""

    name: str
    is_method: bool


class _Split(NamedTuple):
    """A function that asks, and the two that it asks for."""

    asking: ast.FunctionDef
    two: tuple[ast.FunctionDef, ast.FunctionDef]


def merge(model: Path, fuzzer: Path, old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The module files of one model for both sides: `old` and `new` are the files (path below reference_mmu -> text) in
    which they differ, or differ from the shipped ones, `model` and `fuzzer` the folders of the packages. Raises
    Unmergeable."""
    definitions = _definitions(model, old)
    asked = _asked(definitions, fuzzer)
    merged = {}
    for path, text in new.items():
        if path not in old or old[path] == text:
            merged[path] = text
            continue
        try:
            if "/" not in path or path.split("/")[0] in _NO_MACHINES:
                raise Unmergeable("is what the fuzzer itself uses")
            merged[path] = _Merger(definitions.keys(), asked).module(ast.parse(old[path]), ast.parse(text))
        except Unmergeable as reason:
            raise Unmergeable(f"{path} {reason}") from None
    return merged


def _definitions(model: Path, old: Mapping[str, str]) -> dict[_Function, list[ast.FunctionDef]]:
    """Every function of the model by its name, of OLD where the shipped files are not OLD's."""
    found: dict[_Function, list[ast.FunctionDef]] = {}
    texts = {file.relative_to(model).as_posix(): file.read_text(encoding="utf-8") for file in model.rglob("*.py")}
    for _, text in sorted((texts | dict(old)).items()):
        for node in ast.parse(text).body:
            members = node.body if isinstance(node, ast.ClassDef) else [node]
            for member in members:
                if isinstance(member, ast.FunctionDef):
                    found.setdefault(_Function(member.name, isinstance(node, ast.ClassDef)), []).append(member)
    return found


def _asked(definitions: Mapping[_Function, list[ast.FunctionDef]], fuzzer: Path) -> set[_Function]:
    """What the fuzzer runs of the model apart from a machine's turns, and what that runs in turn: the functions that
    oracles import, and the methods by which two machines are compared in the end."""
    imported = {
        _Function(alias.name, is_method=False)
        for file in (fuzzer / _ORACLES).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    compared = {one for one in _named(ast.parse((fuzzer / _COMPARES).read_text(encoding="utf-8"))) if one.is_method}
    asked: set[_Function] = set()
    fresh = (imported | compared) & definitions.keys()
    while fresh:
        asked |= fresh
        bodies = [body for one in fresh for body in definitions[one]]
        fresh = {one for body in bodies for one in _named(body)} & definitions.keys() - asked
    return asked


def _named(tree: ast.AST) -> Iterator[_Function]:
    """The functions that a piece of source may call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield _Function(node.id, is_method=False)
        elif isinstance(node, ast.Attribute):
            yield _Function(node.attr, is_method=True)


class _Merger:
    """Merges one module. `known`: all functions of the model, `asked`: those that must stay what they are."""

    def __init__(self, known: Iterable[_Function], asked: set[_Function]) -> None:
        self.known = set(known)
        self.asked = asked

    def module(self, old: ast.Module, new: ast.Module) -> str:
        """The text of the module."""
        alone = {_key(node): node for node in _without_docstring(old.body)}
        body: list[ast.stmt] = []
        for node in _without_docstring(new.body):
            body += self.statement(alone.pop(_key(node), None), node)
        for node in alone.values():
            # What NEW has no longer, OLD still needs.
            if isinstance(node, ast.Import | ast.ImportFrom):
                body.insert(_first_after_future(body), node)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                body.append(node)
            else:
                raise Unmergeable(f"has another '{_head(node)}'")
        _require_one_meaning(body)
        body.insert(_first_after_future(body), *ast.parse(_ASKS).body)
        return ast.unparse(ast.fix_missing_locations(ast.Module(body, []))) + "\n"

    def statement(self, old: ast.stmt | None, new: ast.stmt) -> list[ast.stmt]:
        """What stands for a statement that both have, or NEW alone (then `old` is None)."""
        match old, new:
            case ast.FunctionDef(), ast.FunctionDef() if not _same(old, new):
                split = self.split(old, new)
                return [*split.two, split.asking]
            case ast.ClassDef(), ast.ClassDef() if not _same(old, new):
                return self.class_(old, new)
            case None, ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.ClassDef():
                return [new]
            case None, ast.Assign() | ast.AnnAssign():
                return [new]
            case None, _:
                raise Unmergeable(f"has another '{_head(new)}'")
        return [new]

    def class_(self, old: ast.ClassDef, new: ast.ClassDef) -> list[ast.stmt]:
        """A class whose changed methods ask, and after it the functions that they ask for."""
        if not _same(_without_body(old), _without_body(new)):
            raise Unmergeable(f"has another head of class {new.name}")
        alone = {_key(node): node for node in _without_docstring(old.body)}
        merged = deepcopy(new)
        merged.body = []
        functions: list[ast.stmt] = []
        for node in _without_docstring(new.body):
            was = alone.pop(_key(node), None)
            if isinstance(was, ast.FunctionDef) and isinstance(node, ast.FunctionDef) and not _same(was, node):
                split = self.split(was, node, new.name)
                merged.body.append(split.asking)
                functions += split.two
            elif was is not None or self.is_new_method(node):
                merged.body.append(node)
            else:
                raise Unmergeable(f"gives class {new.name} another '{_head(node)}'")
        if alone:
            raise Unmergeable(f"takes '{_head(next(iter(alone.values())))}' from class {new.name}")
        return [merged, *functions]

    def is_new_method(self, node: ast.stmt) -> bool:
        """A method that overrides none, so that nobody calls it who does not know it."""
        return isinstance(node, ast.FunctionDef) and _Function(node.name, is_method=True) not in self.known

    def split(self, old: ast.FunctionDef, new: ast.FunctionDef, owner: str = "") -> _Split:
        """The three functions for one that has changed, of the class `owner` if it is a method."""
        name = f"{owner}.{new.name}" if owner else new.name
        if _Function(new.name, bool(owner)) in self.asked:
            raise Unmergeable(f"changes {name}(), by which both sides are judged")
        if new.decorator_list or old.decorator_list:
            raise Unmergeable(f"changes {name}(), which has a decorator")
        if not (_same(old.args, new.args) and _same(old.returns, new.returns)):
            raise Unmergeable(f"changes what {name}() is called with, or returns")
        if new.name == "__init__" or _uses_super(old) or _uses_super(new):
            raise Unmergeable(f"changes {name}(), which must be the class's own")
        two = (_renamed(old, owner, "without"), _renamed(new, owner, "with"))
        asking = deepcopy(new)
        asking.body = _question(new, *two)
        return _Split(asking, two)


def _renamed(function: ast.FunctionDef, owner: str, how: str) -> ast.FunctionDef:
    """One of the two, which is always a function of the module: another method would give its class, and with it all
    who use the class, another layout."""
    renamed = deepcopy(function)
    renamed.name = f"{owner}_{function.name}_{how}_change".lstrip("_") if owner else f"{function.name}_{how}_change"
    if owner:
        renamed.args.args[0].annotation = ast.Name(owner)
    return renamed


def _question(function: ast.FunctionDef, without: ast.FunctionDef, with_: ast.FunctionDef) -> list[ast.stmt]:
    """The body of the function that asks. A generator is not asked for again once it is made."""
    arguments = _arguments(function.args)
    nothing = isinstance(function.returns, ast.Constant) and function.returns.value is None
    give = "" if nothing else "return "
    text = f"if APPLIED.now:\n    {give}{with_.name}({arguments})\nelse:\n    {give}{without.name}({arguments})"
    return ast.parse(text).body


def _arguments(args: ast.arguments) -> str:
    """What a function hands on that is called like this."""
    given = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    if args.vararg:
        given.append(f"*{args.vararg.arg}")
    given += [f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs]
    if args.kwarg:
        given.append(f"**{args.kwarg.arg}")
    return ", ".join(given)


def _key(node: ast.stmt) -> object:
    """What makes a statement the same one in both: its name, or else all of it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return type(node), node.name
    return ast.dump(node)


def _same(one: ast.AST | None, other: ast.AST | None) -> bool:
    return _plain(one) == _plain(other)


def _plain(node: ast.AST | None) -> str:
    """All of it but places and docstrings."""
    if node is None:
        return ""
    node = deepcopy(node)
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef):
            inner.body = _without_docstring(inner.body)
    return ast.dump(node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(ast.Constant(str())), *rest]:
            return rest
    return body


def _without_body(node: ast.ClassDef) -> ast.ClassDef:
    head = deepcopy(node)
    head.body = []
    return head


def _uses_super(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Name) and node.id in ("super", "__class__") for node in ast.walk(function))


def _first_after_future(body: list[ast.stmt]) -> int:
    future = [at for at, one in enumerate(body) if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
    return future[-1] + 1 if future else 0


def _require_one_meaning(body: list[ast.stmt]) -> None:
    """Raise Unmergeable if a name means one thing to OLD and another one to NEW."""
    meanings: dict[str, str] = {}
    for node in body:
        for name, meaning in _bound(node):
            if meanings.setdefault(name, meaning) != meaning:
                raise Unmergeable(f"gives the name {name} another meaning")


def _bound(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The names that a statement at the top of a module binds, and to what."""
    match node:
        case ast.ImportFrom():
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.level} {node.module} {alias.name}"
        case ast.Import():
            for alias in node.names:
                yield alias.asname or alias.name, alias.name
        case ast.FunctionDef() | ast.ClassDef():
            yield node.name, ast.dump(node)
        case ast.Assign() | ast.AnnAssign():
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    yield inner.id, ast.dump(node)


def _head(node: ast.stmt) -> str:
    """The first line of a statement."""
    return ast.unparse(node).partition("\n")[0]
