# SPDX-License-Identifier: GPL-2.0-only
"""The house style as a test: what a reviewer should not have to look for."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("reference_mmu", "fuzzer", "db", "workers", "dashboard", "deploy", "tests", "benchmarks", "docs", ".ci")
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


def test_imports_keep_their_layers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
