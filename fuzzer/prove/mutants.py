# SPDX-License-Identifier: GPL-2.0-only
"""Proofs are tried on patches that are wrong: the side with the patch is broken at one place, and the proof of the
patch has to find a case on which the sides differ.

A mutant is put under the model that is there: the code of one function is exchanged, so that whoever has imported the
function gets it, and nothing has to be loaded again.  That works only interpreted.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module, resources
from types import CodeType, FunctionType
from typing import Final

import msgspec
import yaml

from fuzzer.change.edits import Edit, apply_edits, functions_of
from fuzzer.prove.after import AfterSide, after_sides, shipped_line
from fuzzer.prove.breaks import breaks
from fuzzer.prove.prove import check_equivalence, claims_of, counterexample
from reference_mmu.changelog.patches import dependents
from reference_mmu.record import Record

_EXPLAINED: Final = "survivors.yaml"


class Mutant(Record):
    """`id` is "file:function:about", and "#2" and so on for what is said of more than one place; `line` that of the
    shipped source."""

    patch: str
    id: str
    line: int
    about: str

    @property
    def place(self) -> str:
        return f"{self.id.partition(':')[0]}:{self.line}"


class Noticed(Record):
    """How a proof saw that a patch is broken. `how`: by a case of a sweep over all inputs, by a random program, or
    because the model broke down on one; "nothing": it did not. `what`: the case, or what was raised."""

    how: str
    what: str = ""


class Survivors(Record, forbid_unknown_fields=True):
    """Mutants, by patch and id, that no proof can notice, and why: `reason` is about the kernel. "file:function:*" is
    all of a function."""

    reason: str
    mutants: dict[str, tuple[str, ...]]


@cache
def mutants_of(patch_id: str) -> tuple[Mutant, ...]:
    """In the order of the source. Raises UnknownPatch and NoEquivalence."""
    return tuple(mutant for mutant, _, _ in _made(patch_id))


@cache
def parts_of(patch_id: str) -> tuple[AfterSide, ...]:
    """The code that runs only on the side with the patch. Raises UnknownPatch and NoEquivalence."""
    check_equivalence(patch_id)
    _, pairs = claims_of(patch_id)
    together = pairs[0].after.patches - pairs[0].before.patches
    return after_sides(patch_id, together, frozenset(dependents(together)) - pairs[1].after.patches)


@cache
def _made(patch_id: str) -> list[tuple[Mutant, AfterSide, str]]:
    made = []
    named: Counter[str] = Counter()
    for part in parts_of(patch_id):
        seen = {part.text}
        for change in breaks(part.tree(), part.lines):
            if all(changes_nothing(part, edit) for edit in change.edits):
                continue
            text = apply_edits(part.text, change.edits)
            if text in seen:
                continue
            seen.add(text)
            line = min(edit.node.lineno for edit in change.edits)
            name = f"{part.path}:{part.function}:{change.about}"
            named[name] += 1
            if named[name] > 1:
                name += f" #{named[name]}"
            made.append((Mutant(patch_id, name, shipped_line(part, line), change.about), part, text))
    return made


def changes_nothing(part: AfterSide, edit: Edit) -> bool:
    """Is that 0 in place of a constant of the module that is 0?"""
    constants = vars(import_module(part.module.removesuffix(".py").replace("/", ".")))
    return edit.text == "0" and isinstance(edit.node, ast.Name) and constants.get(edit.node.id) == 0


@cache
def survivors() -> list[Survivors]:
    """What lives, and why."""
    text = resources.files(__package__).joinpath(_EXPLAINED).read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), list[Survivors])


def reason_of(mutant: Mutant) -> str:
    """Why nobody can notice it, "" if none is known."""
    file, function, _ = mutant.id.split(":", 2)
    for entry in survivors():
        if {mutant.id, f"{file}:{function}:*"} & set(entry.mutants.get(mutant.patch, ())):
            return " ".join(entry.reason.split())
    return ""


def notice(mutant: Mutant, began: Callable[[], None]) -> Noticed:
    """Go through the proof of the patch with the mutant in place, up to the first difference. `began` is called before
    every case: it may make a case that never ends raise."""
    _, part, text = next(each for each in _made(mutant.patch) if each[0] == mutant)
    if not _is_run(mutant.patch, part.path, part.function, began):
        return Noticed("nothing")
    with in_place(part, dict(functions_of(ast.parse(text)))[part.function]):
        return _first_difference(mutant.patch, began)


@cache
def _is_run(patch_id: str, path: str, name: str, began: Callable[[], None]) -> bool:
    """Does the proof run that function on the side with the patch at all? Else it is the same whatever stands there."""
    part = next(part for part in parts_of(patch_id) if (part.path, part.function) == (path, name))
    function = part.tree()
    kept = "\n    yield 0" if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)) else ""
    function.body = ast.parse(f"if True:\n    raise NotImplementedError{kept}").body
    with in_place(part, function):
        return _first_difference(patch_id, began).how != "nothing"


def _first_difference(patch_id: str, began: Callable[[], None]) -> Noticed:
    """What the proof says of the model as it is now; the sweeps over all inputs come first."""
    sweeps, pairs = claims_of(patch_id)
    for sweep in sorted(sweeps, key=lambda sweep: sweep.profile is not None):
        how = "input" if sweep.profile is None else "program"
        try:
            for sides in pairs:
                began()
                for case in sweep.cases(sides):
                    if case.before != case.after:
                        return Noticed(how, counterexample(sweep, sides, case))
                    began()
        except Exception as error:  # a break may raise whatever it likes
            return Noticed("error", f"{type(error).__name__}: {error}")
    return Noticed("nothing")


# --- the mutant in place -----------------------------------------------------------------------------------------


@contextmanager
def in_place(part: AfterSide, broken: ast.FunctionDef) -> Iterator[None]:
    """The model with `broken` in place of the function wherever the patch is on. Raises RuntimeError if the model is
    compiled."""
    function = function_of(part)
    before = function.__code__
    function.__code__ = code_of(part, broken)
    try:
        yield
    finally:
        function.__code__ = before


def function_of(part: AfterSide) -> FunctionType:
    found: object = import_module(part.module.removesuffix(".py").replace("/", "."))
    for name in part.function.split("."):
        found = inspect.getattr_static(found, name)
    if not isinstance(found, FunctionType):
        raise RuntimeError("the code of a compiled function cannot be exchanged: set MMUFUZZ_CORE=interpreted")
    return found


def code_of(part: AfterSide, broken: ast.FunctionDef) -> CodeType:
    """The function as it is without the patch, and `broken` with it."""
    if part.before is not None:
        switch = ast.parse(part.switch, mode="eval").body
        broken.body = [ast.If(test=switch, body=broken.body, orelse=part.before.body)]
    return compiled_function(ast.fix_missing_locations(ast.Module(body=[broken], type_ignores=[])), broken.name)


def compiled_function(module: ast.Module, name: str) -> CodeType:
    code = compile(module, f"<{name}, broken>", "exec", dont_inherit=True)
    return next(const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == name)
