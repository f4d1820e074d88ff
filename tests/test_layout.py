# SPDX-License-Identifier: GPL-2.0-only
"""The house style as a test: what a reviewer should not have to look for."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzzer.compiled import COMPILED, PACKAGES, _core_files

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("reference_mmu", "fuzzer", "db", "workers", "dashboard", "cli")
FOLDERS = (*ROOMS, "deploy", "tests", "benchmarks", "docs", ".ci")
TEXT = {".py", ".toml", ".yaml", ".yml", ".md", ".txt", ".json", ".ini", ".cfg", ".html", ".css", ".mako", ".sh", ""}
FUNCTION_LINES_MAX = 70

# Character classes keep these patterns from matching their own lines.
MACHINE_PATH = re.compile(r"/(?:[w]ork|[r]oot|[f]arm|[h]ome)/|(?<![\w.])/[t]mp/")
REGISTRY = re.compile(r"p[y]pi\.org|p[y]thonhosted|registry\.n[p]mjs|--(?:extra-)?inde[x]-url")
UNFINISHED = re.compile(r"\bT[O]DO\b|\bF[I]XME\b|\bX[X]X\b|x[f]ail|mark\.s[k]ip|pytest\.s[k]ip|p[r]agma: no cover")


def project_files() -> list[Path]:
    """Every text file of the project: the known folders and the top level, without what is built or cached."""
    below = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))
    files = [file for file in (*ROOT.glob("*"), *below) if file.is_file() and file.suffix in TEXT]
    return sorted(file for file in files if "__pycache__" not in file.parts)


FILES = project_files()
MODULES = [file for file in FILES if file.suffix == ".py"]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def lines_matching(pattern: re.Pattern[str], file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [f"{name_of(file)}:{number}: {line}" for number, line in enumerate(lines, 1) if pattern.search(line)]


def test_the_walk_sees_the_project() -> None:
    names = {name_of(file) for file in FILES}
    assert {"Makefile", "pyproject.toml", ".ci/run", "fuzzer/compiled.py", "tests/test_layout.py"} <= names


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine path", "registry host"])
def test_the_project_speaks_of_the_project_alone(pattern: re.Pattern[str]) -> None:
    assert [line for file in FILES for line in lines_matching(pattern, file)] == []


def test_nothing_is_unfinished() -> None:
    assert [line for module in MODULES for line in lines_matching(UNFINISHED, module)] == []


def test_the_patterns_catch_what_they_forbid() -> None:
    for pattern, bad in [
        (MACHINE_PATH, "open('/" + "root/x')"),
        (MACHINE_PATH, " /" + "tmp/y"),
        (REGISTRY, "https://py" + "pi.org/simple"),
        (UNFINISHED, "# TO" + "DO later"),
        (UNFINISHED, "@pytest.mark.sk" + "ip"),
    ]:
        assert pattern.search(bad)


def test_every_module_names_its_licence() -> None:
    head = "# SPDX-License-Identifier: GPL-2.0-only"
    assert [name_of(module) for module in MODULES if not module.read_text(encoding="utf-8").startswith(head)] == []


def test_every_room_says_what_lives_there() -> None:
    rooms = [module for module in MODULES if module.name == "__init__.py"]
    assert len(rooms) > 20
    assert [name_of(room) for room in rooms if not ast.get_docstring(ast.parse(room.read_text(encoding="utf-8")))] == []


def test_a_file_is_named_after_one_thing() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "manager.py", "common.py", "misc.py"}
    assert [name_of(module) for module in MODULES if module.name in vague] == []


def test_functions_fit_a_screen() -> None:
    too_long = []
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    too_long.append(f"{name_of(module)}:{node.lineno}: {node.name} has {length} lines")
    assert too_long == []


def modules_named_in(text: str) -> Iterator[str]:
    """Dotted names that begin with a package of the project, without attributes: `fuzzer.judge.finding.Finding` names
    fuzzer.judge.finding."""
    for name in re.findall(rf"(?<![\w./@])(?:{'|'.join(ROOMS)})(?:\.[a-z_0-9]+)+(?![\w(/])", text):
        if not name.endswith((".py", ".html", "__")):
            yield name


def is_named_rightly(name: str) -> bool:
    """Is it a module or package, or something that one defines?"""
    module, _, attribute = name.rpartition(".")
    here, above = ROOT / name.replace(".", "/"), ROOT / module.replace(".", "/")
    if here.is_dir() or here.with_suffix(".py").exists() or name == "reference_mmu.planted":  # put there by a benchmark
        return True
    source = above.with_suffix(".py") if above.with_suffix(".py").exists() else above / "__init__.py"
    return (
        "." in module and source.exists() and bool(re.search(rf"\b{attribute}\b", source.read_text(encoding="utf-8")))
    )


def test_a_module_that_a_source_names_exists() -> None:
    """In code a wrong name fails; in a docstring, and in code that is written out for somebody, it stays for years."""
    wrong = [
        f"{name_of(module)}: {name}"
        for module in MODULES
        if module.relative_to(ROOT).parts[0] in ROOMS
        for name in modules_named_in(module.read_text(encoding="utf-8"))
        if not is_named_rightly(name)
    ]
    assert wrong == []
    assert not is_named_rightly("fuzzer." + "export.envelope")


# A docstring that leans on the one above it, or only qualifies the name below: the noun is missing.
HEADLESS = re.compile(
    r"The same(?:[.,:;]|$| (?:for|of|in|without|with|under|as|but|by|when|if|to|the other|other)\b)|Of |Those "
)
CODE = re.compile(r"\b[EO][1-8]\b")
LATER = {"reference_mmu", "oracle"}
"""Folders whose docstrings may still lean on each other."""


def docstrings(module: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of fields included."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def test_a_docstring_says_its_noun() -> None:
    modules = [m for m in MODULES if m.relative_to(ROOT).parts[0] in ROOMS and LATER.isdisjoint(m.parts)]
    headless = [
        f"{name_of(module)}:{line}: {text}"
        for module in modules
        for line, text in docstrings(module)
        if HEADLESS.match(text)
    ]
    assert headless == []


def test_rules_are_named_by_words() -> None:
    modules = [module for module in MODULES if module.relative_to(ROOT).parts[0] in ROOMS]
    assert [line for module in modules for line in lines_matching(CODE, module)] == []


@pytest.mark.parametrize(
    ("text", "headless"),
    [
        ("The same for Dirty.", True),
        ("The same, written down.", True),
        ("The same", True),
        ("Of a trace: is it judged?", True),
        ("Those that can run.", True),
        ("The same program on two models.", False),
        ("Offers a key.", False),
    ],
)
def test_a_docstring_is_known_to_be_headless(text: str, headless: bool) -> None:
    assert bool(HEADLESS.match(text)) == headless


def is_literal(node: ast.AST) -> bool:
    """A number as written, its sign included."""
    match node:
        case ast.Constant(value=int()):
            return True
        case ast.UnaryOp(operand=operand):
            return is_literal(operand)
        case ast.BinOp(left=left, right=right):
            return is_literal(left) and is_literal(right)
    return False


def is_constant(node: ast.AST) -> bool:
    """A literal, or the name of one."""
    match node:
        case ast.Name(id=name):
            return name.isupper()
        case ast.UnaryOp(operand=operand):
            return is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return is_constant(left) and is_constant(right)
    return is_literal(node)


def narrow_shifts(text: str) -> Iterator[str]:
    """Shifts of a literal, also of a named one, by what is none. In a C source the literal is an int of 32 bits, which
    loses what is shifted further. Between two constants of a module there is nothing left to shift for C."""
    tree = ast.parse(text)
    of_module = {
        node
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, op=ast.LShift() | ast.RShift(), right=right) if is_constant(left):
                if not is_literal(right) and not (node in of_module and is_constant(right)):
                    yield f"{node.lineno}: {ast.unparse(node)}"


def test_what_is_compiled_shifts_no_literal_by_a_variable() -> None:
    """reference_mmu.bits.bit_ull() is for that."""
    files = _core_files({package: ROOT / package for package in PACKAGES})
    names = {file.as_posix() for file in files}
    assert {"reference_mmu/x86/machine.py", "reference_mmu/bits.py", "fuzzer/run/lockstep.py"} <= names
    assert {file for file in COMPILED if "*" not in file} <= names
    assert "reference_mmu/config.py" not in names  # has Structs, and so is not compiled
    found = {file: [*narrow_shifts((ROOT / file).read_text(encoding="utf-8"))] for file in files}
    assert {file.as_posix(): shifts for file, shifts in found.items() if shifts} == {}


@pytest.mark.parametrize(
    ("text", "narrow"),
    [
        ("def f(n): return 1 << n", True),
        ("def f(n): return x | -1 << n + 2", True),
        ("def f(n): return (1 << 3) << n", True),
        ("def f(n): return 5 >> n", True),
        ("def f(n): return ONE << n", True),
        ("def f(): return 1 << SHIFT", True),
        ("X = [1 << n for n in range(64)]", True),
        ("class C:\n    x = 1 << n", True),
        ("x = 1 << n", True),
        ("MASK: Final = (1 << SHIFT) - 1", False),
        ("MASK: Final[i64] = SAVED << SHIFT", False),
        ("def f(): return 1 << 40", False),
        ("def f(n): return n << 40 | n >> SHIFT", False),
        ("def f(one, n): return one << n", False),
        ("def f(n): return bit_ull(n)", False),
    ],
)
def test_a_shift_is_known_to_be_narrow(text: str, narrow: bool) -> None:
    assert bool([*narrow_shifts(text)]) == narrow


def test_imports_keep_their_layers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
