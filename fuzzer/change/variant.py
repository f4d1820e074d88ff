# SPDX-License-Identifier: GPL-2.0-only
"""A changed copy of the model beside the shipped one, in the same process: a user's diff, or a planted bug.

The whole package is loaded a second time under another name, so no object of the copy is an object of the original.
The fuzzer and its oracles read the copy's machine by attribute, as they read the shipped one's; that works only
interpreted, since compiled code insists on the very classes it was compiled with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, ModuleType
from typing import Final, NamedTuple

import msgspec

import reference_mmu
from fuzzer.change.changed_model import ChangedModel
from fuzzer.change.exercised import with_notes
from fuzzer.change.moved import moved_advice
from fuzzer.oracle.judge import Judge
from fuzzer.run.compare import Models
from fuzzer.run.model import Model
from reference_mmu import observed, operations
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.kvm.vm import Vm
from reference_mmu.rwlock import ModelBug
from reference_mmu.x86 import machine

# As JSON, which is how a reproducer carries it: half of what a reproducer may have. The whole model has 210 KB.
DIFF_BYTES_MAX: Final = 1 << 19

_COPY: Final = "reference_mmu_variant"
_ORIGINAL: Final = Path(reference_mmu.__file__).parent


class VariantError(ValueError):
    """A change that does not apply, or a changed model that does not load; the first line says why."""


class Mismatch(VariantError):
    """A diff of other sources than these."""


@lru_cache(maxsize=4)
def changed_models(diff: str, base: str = "") -> Models:
    """The shipped model as OLD's, and as NEW's the same with a user's diff. Sources that have the change already, as a
    checkout has whose `git diff` this is, are NEW's, and OLD's are those without it. Both have the diff `base`, if
    there is one, which `diff` goes on top of: the patches before it in its series, or a feature that the model lacks.

    Raises VariantError: too long, and what apply_diff() and load_variant() refuse.
    """
    sides = sides_of(diff, base)
    new = load_variant(with_notes(sides.old, sides.new))
    # Where the shipped sources are NEW's, they are a copy as well: nothing guards them against what the change raises.
    if sides.inside or base:
        return Models(old=load_variant(sides.old), new=new, diff=diff, base=base)
    return Models(new=new, diff=diff)


class Sides(NamedTuple):
    """The module files that a diff changes (path below reference_mmu -> text), as OLD has them and as NEW does, where
    only NEW has those that it adds. `inside`: the shipped sources are NEW's, else they are OLD's."""

    old: dict[str, str]
    new: dict[str, str]
    inside: bool


def sides_of(diff: str, base: str = "") -> Sides:
    """What OLD and NEW are made of. Raises VariantError: too long, and what apply_diff() refuses."""
    if len(msgspec.json.encode(base + diff)) > DIFF_BYTES_MAX:
        raise VariantError(f"the diff has more than {DIFF_BYTES_MAX >> 10} KiB")
    if base:
        return _on_top_of(base, diff)
    try:
        new, inside = apply_diff(diff), False
    except Mismatch as mismatch:
        try:
            old, inside = revert_diff(diff), True
        except Mismatch:
            raise mismatch from None
    if inside:
        return Sides(old, {name: (_ORIGINAL / name).read_text(encoding="utf-8") for name in old}, inside)
    shipped = {name: _ORIGINAL / name for name in new}
    return Sides({name: f.read_text(encoding="utf-8") for name, f in shipped.items() if f.exists()}, new, inside)


def _on_top_of(base: str, diff: str) -> Sides:
    """The same where both have `base`. What only that changes is in both, too."""
    before = apply_diff(base)
    after = before | apply_diff(diff, before)
    shipped = {name: _ORIGINAL / name for name in after.keys() - before.keys()}
    old = {name: file.read_text(encoding="utf-8") for name, file in shipped.items() if file.exists()}
    return Sides(before | old, after, inside=False)


class _LoadedCopy(ChangedModel):
    """The copy that is imported when this is made, with semantics of its own class, so that a change may read a field
    it adds."""

    def __init__(self) -> None:
        self._architectures = import_module(f"{_COPY}.architectures").ARCHITECTURES
        self._semantics = import_module(f"{_COPY}.changelog.semantics").Semantics

    def machine(self, config: Config, semantics: Semantics, actors: int, operations: int, judge: Judge) -> Vm:
        own = self._semantics(semantics.patches)
        machine: Vm = self._architectures[config.architecture].machine(config, own, actors, operations, judge)
        return machine


def load_variant(sources: Mapping[str, str]) -> Model:
    """The model with the module files in `sources` (path below reference_mmu -> text) in place of the shipped
    ones.

    Raises VariantError if the changed package cannot be imported, or if the core of this process is compiled.
    """
    if not machine.__file__.endswith(".py"):
        raise VariantError("a changed model runs only interpreted: set MMUFUZZ_CORE=interpreted")
    with TemporaryDirectory(prefix="mmufuzz-") as folder:
        copy = Path(folder, _COPY)
        _copy_original(copy, sources)
        try:
            _import_copy(copy)
            return _LoadedCopy()
        except (Exception, SystemExit) as error:
            raise VariantError(f"the changed model does not load: {type(error).__name__}: {error}") from error
        finally:
            # The model keeps its modules alive; the next variant starts afresh.
            for module in [m for m in sys.modules if m == _COPY or m.startswith(f"{_COPY}.")]:
                del sys.modules[module]


def _copy_original(target: Path, sources: Mapping[str, str]) -> None:
    shutil.copytree(_ORIGINAL, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in sources.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, encoding="utf-8")


def _import_copy(copy: Path) -> None:
    spec = spec_from_file_location(_COPY, copy / "__init__.py", submodule_search_locations=[str(copy)])
    assert spec is not None
    assert spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[_COPY] = package
    spec.loader.exec_module(package)
    # The lockstep catches the shipped class. What of the copy raises it gets it from there, and is not yet imported.
    import_module(f"{_COPY}.rwlock").__dict__["ModelBug"] = ModelBug
    # Fuzzer, lockstep and reproducers know the points of the shipped model, by number.
    for name, architecture in import_module(f"{_COPY}.architectures").ARCHITECTURES.items():
        if architecture.points.names != ARCHITECTURES[name].points.names:
            raise ValueError("a change may move preemption points, but not add, rename or renumber them in points.py")
    for shared in (observed, operations):
        if _numbers(import_module(shared.__name__.replace(reference_mmu.__name__, _COPY, 1))) != _numbers(shared):
            raise ValueError(f"a change may not add or renumber constants of {shared.__name__}: the fuzzer has its own")


def _numbers(module: ModuleType) -> dict[str, int]:
    return {name: int(value) for name, value in vars(module).items() if name.isupper() and isinstance(value, int)}


def apply_diff(diff: str, sources: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The module files that a unified diff (paths a/reference_mmu/..., as `git diff` writes them) changes: path below
    reference_mmu -> new text, for load_variant(). `sources` are in place of the shipped ones.

    Raises Mismatch if the diff does not apply to the sources, VariantError: git is missing; the diff changes nothing;
    it touches anything but Python files of reference_mmu, or deletes one.
    """
    before, after = _patched(diff, sources)
    changed = _changed(before, after)
    return {path.removeprefix("reference_mmu/"): after[path] for path in changed}


def revert_diff(diff: str) -> dict[str, str]:
    """The module files as they were before the diff, which the shipped sources have: apply_diff() the other way round.
    A file that the diff added stays, since nothing else asks for it. Raises what apply_diff() raises."""
    after, before = _patched(diff, {}, "--reverse")
    changed = _changed(before, after)
    return {path.removeprefix("reference_mmu/"): before[path] for path in changed if path in before}


def _patched(diff: str, sources: Mapping[str, str], *options: str) -> tuple[dict[str, str], dict[str, str]]:
    """Every file of the package, with `sources` in place of the shipped ones, before and after `git apply`, by path."""
    git = shutil.which("git")
    if git is None:
        raise VariantError("git is needed to apply a diff, and there is none")
    with TemporaryDirectory(prefix="mmufuzz-") as name:
        folder = Path(name).resolve()
        copy = folder / "reference_mmu"
        _copy_original(copy, sources)
        before = _texts(folder)
        # Inside somebody's work tree git would silently leave out all paths but those below the current directory.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
        command = [git, "apply", "--whitespace=nowarn", *options, "-"]
        run = subprocess.run(
            command, cwd=folder, env=environment, input=diff.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if run.returncode:
            reason = run.stderr.decode(errors="replace").strip().partition("\n")[0].removeprefix("error: ")
            which = "the model with its base" if sources else "the shipped model"
            raise Mismatch(f"the diff does not apply to {which}: {reason}{moved_advice(diff)}")
        return before, _texts(folder)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The paths that a diff changes or adds. Raises VariantError for what it must not do."""
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    if not changed:
        raise VariantError("the diff changes nothing")
    for path in sorted(changed):
        if not path.startswith("reference_mmu/") or not path.endswith(".py") or path not in after:
            raise VariantError(f"a diff may change and add Python files of reference_mmu, not remove or touch {path}")
    return sorted(changed)


def _texts(folder: Path) -> dict[str, str]:
    """The texts of the files. Bytes that are no UTF-8 are escaped: they may be there, but are no Python."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes().decode(errors="backslashreplace") for file in files}
