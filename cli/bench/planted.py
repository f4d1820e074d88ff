# SPDX-License-Identifier: GPL-2.0-only
"""The copy of the model in which the bugs of cli/bench/bugs.py are.

All are in one copy, each behind a number that the process is started with, and only NEW has them. So one compilation
does for all of them, every arm runs the same compiled code, and a bug shows as it would in a review: NEW breaks what
OLD keeps. Loading a second model beside the shipped one, as `mmufuzz run --apply` does, works interpreted only; then
the model's own time would hide what the arms add to it.
"""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import fuzzer
import reference_mmu
from cli.bench.bugs import BUGS, Bug, number_of
from fuzzer.compiled import CoreError, require_compiler
from workers.refusal import BadInput

VARIABLE: Final = "MMUFUZZ_PLANTED"
"""Environment variable: the number of the bug that a process of the copy has, 0 for none."""

# Any patch that NEW has and OLD has not.
_ONLY_NEW: Final = "sem.age_elides_tlb_flush"
_SWITCH: Final = f'''# SPDX-License-Identifier: GPL-2.0-only
"""Which planted bug this process has."""

import os
from typing import Final

PLANTED: Final = int(os.environ.get("{VARIABLE}", "0"))
'''
_COPIED: Final = ("reference_mmu", "fuzzer")
_COPIES_KEPT: Final = 4


def copies() -> Path:
    """Where copies are kept: build/bench of a checkout, or the user's cache."""
    checkout = Path(__file__).resolve().parent.parent.parent
    if (checkout / "pyproject.toml").exists():
        return checkout / "build" / "bench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmufuzz" / "bench"


def planted_copy(folder: Path) -> Path:
    """A directory below `folder` with the two packages and all bugs in them, compiled if it can be; it is made if it
    is not there for exactly these sources, which takes a minute or two. `ready_copy` says whether it is there.

    Raises BadInput: a place was not found, since the model has changed, or the compiler failed.
    """
    target = ready_copy(folder)
    if target.is_dir():
        return target
    scratch = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        for name, source in _sources().items():
            shutil.copytree(source, scratch / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        plant(scratch / "reference_mmu")
        if can_compile():
            _compile(scratch)
        # Somebody else may have been faster with the same copy: then theirs stays.
        with suppress(OSError):
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime)[:-_COPIES_KEPT]:
        shutil.rmtree(old)
    return target


def ready_copy(folder: Path) -> Path:
    """Where the copy of the sources as they are now is, or will be."""
    digest = hashlib.sha256(f"{sys.version} {can_compile()} {BUGS}".encode())
    for _, source in sorted(_sources().items()):
        for file in sorted(source.rglob("*.py")):
            digest.update(file.relative_to(source).as_posix().encode() + file.read_bytes())
    return folder / digest.hexdigest()[:16]


def can_compile() -> bool:
    """Is there all that a compilation needs, and has nobody asked for the interpreter?"""
    if os.environ.get("MMUFUZZ_CORE") == "interpreted":
        return False
    try:
        require_compiler()
    except CoreError:
        return False
    return True


def plant(model: Path) -> None:
    """Edit the sources of a copy of reference_mmu. Raises BadInput if a place is not there once."""
    for file in sorted(model.rglob("*.py")):
        before = file.read_text(encoding="utf-8")
        after = planted(before)
        if after != before:
            file.write_text(after, encoding="utf-8")
    (model / "planted.py").write_text(_SWITCH, encoding="utf-8")
    lacking = [bug.name for bug in BUGS if bug.function and not _is_planted(model, bug)]
    if lacking:
        raise BadInput(f"the model has changed: bug '{lacking[0]}' finds no place; see cli/bench/bugs.py")


def planted(text: str) -> str:
    """The source of a module with the bugs of its functions. Each is behind its number."""
    edits = [edit for bug in BUGS if bug.function for edit in _edits(ast.parse(text), bug)]
    if not edits:
        return text
    lines = text.splitlines(keepends=True)
    for node, replacement in sorted(edits, key=lambda edit: (-edit[0].lineno, -edit[0].col_offset)):
        _replace(lines, node, replacement)
    first = next(node for node in ast.parse(text).body if _is_common_import(node))
    lines.insert(first.lineno - 1, "from reference_mmu.planted import PLANTED\n")
    return "".join(lines)


def _edits(tree: ast.Module, bug: Bug) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Where the bug goes, if its function is in this module, and what is there then."""
    # Methods of that name are hooks, by which common code calls the function.
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == bug.function]
    wanted = ast.unparse(ast.parse(bug.old))
    for function in functions:
        machine = function.args.args[0].arg
        condition = f"PLANTED == {number_of(bug)} and {machine}.{_ONLY_NEW}"
        same = [n for n in ast.walk(function) if isinstance(n, ast.stmt | ast.expr) and ast.unparse(n) == wanted]
        statements = [node for node in same if isinstance(node, ast.stmt)]
        if len(statements or same) != 1:
            raise BadInput(f"the model has changed: {bug.function}() has {len(statements or same)} times '{bug.old}'")
        if statements:
            yield statements[0], _branches(condition, bug, statements[0].col_offset)
        else:
            yield same[0], f"({bug.new} if {condition} else {bug.old})"


def _branches(condition: str, bug: Bug, indent: int) -> str:
    """Both statements, at the depth of the one that is replaced."""
    inner = "\n    ".join(ast.unparse(ast.parse(bug.new)).splitlines())
    whole = f"if {condition}:\n    {inner}\nelse:\n    {bug.old}"
    return f"\n{' ' * indent}".join(whole.splitlines())


def _replace(lines: list[str], node: ast.stmt | ast.expr, text: str) -> None:
    """Replace a stretch of source. Columns of the AST count bytes; the model's sources are compared as such."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    head = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    tail = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    lines[node.lineno - 1 : node.end_lineno] = [head + text + tail]


def _is_common_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__")


def _is_planted(model: Path, bug: Bug) -> bool:
    mark = f"PLANTED == {number_of(bug)} "
    return any(mark in file.read_text(encoding="utf-8") for file in model.rglob("*.py"))


def _sources() -> dict[str, Path]:
    packages = {"reference_mmu": reference_mmu, "fuzzer": fuzzer}
    return {name: Path(packages[name].__path__[0]).resolve() for name in _COPIED}


def _compile(folder: Path) -> None:
    command = [sys.executable, "-m", "fuzzer.compiled"]
    variables = os.environ | {"PYTHONPATH": str(folder)}
    # Away from the terminal's Ctrl-C, which would look like a compiler that failed.
    run = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, start_new_session=True)
    if run.returncode:
        raise BadInput(f"the model with the planted bugs does not compile: {run.stderr.strip()}")
