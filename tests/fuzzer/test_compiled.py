# SPDX-License-Identifier: GPL-2.0-only
"""The compiled core, on a toy project of the same shape: compiled, used, and never instead of newer sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fuzzer.compiled
import fuzzer.core

IGNORED = shutil.ignore_patterns("__pycache__")
SPDX = "# SPDX-License-Identifier: GPL-2.0-only\n"
TOY = {
    "pyproject.toml": "",
    "reference_mmu/__init__.py": "",
    "reference_mmu/config.py": """
from typing import Final
import msgspec
PAGES: Final = 8
class Config(msgspec.Struct, frozen=True):
    base: int = 5
""",
    "reference_mmu/walk.py": """
from collections.abc import Generator
from librt.vecs import append, vec
from mypy_extensions import i64
from .config import PAGES, Config
STEP = 1
def walk(config: Config) -> Generator[int, None, int]:
    entries = vec[i64]()
    gfn: i64 = config.base
    while gfn < config.base + PAGES:
        entries = append(entries, gfn)
        yield 7
        gfn += STEP
    return len(entries)
""",
    "fuzzer/__init__.py": "",
    "fuzzer/schedule/schedule.py": """
class Scheduler:
    def turns(self) -> int:
        return 1
""",
    "fuzzer/schedule/__init__.py": "",
    "fuzzer/run/__init__.py": "",
    "fuzzer/schedule/pct.py": """
from fuzzer.schedule.schedule import Scheduler
class Pct(Scheduler):
    def turns(self) -> int:
        return 3
""",
    "fuzzer/run/execute.py": """
from collections.abc import Generator
from fuzzer.schedule.pct import Pct
from reference_mmu.config import Config
from reference_mmu.walk import walk
def _actor() -> Generator[int, None, int]:
    return (yield from walk(Config()))
def execute() -> int:
    points = 0
    for point in _actor():
        points += point
    return points * 100 + Pct().turns()
""",
    "report.py": """
from fuzzer.compiled import use_compiled_core
state = use_compiled_core()
assert use_compiled_core() is state
from fuzzer.run.execute import execute
import fuzzer.run.execute, fuzzer.schedule.pct, reference_mmu.walk
kinds = {m.__file__.endswith(".py") for m in (fuzzer.run.execute, fuzzer.schedule.pct, reference_mmu.walk)}
assert kinds == {not state.compiled}, kinds
print(execute(), "compiled" if state.compiled else "interpreted", "|", state.reason)
""",
}
# 8 points of 7 each, 3 turns.
RESULT = "5603"


def write_toy(root: Path) -> Path:
    for name, text in TOY.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SPDX + text)
    shutil.copy(fuzzer.compiled.__file__, root / "fuzzer" / "compiled.py")
    shutil.copytree(Path(fuzzer.core.__file__).parent, root / "fuzzer" / "core", ignore=IGNORED)
    return root


def python(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("MMUFUZZ_CORE", "PYTHONPATH")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=kept | environment, capture_output=True, text=True)


def report(root: Path, **environment: str) -> str:
    run = python(root, "report.py", **environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def newly_compiled(root: Path) -> int:
    """Compile, and count the C files that there was no object of."""
    objects = root / "build" / "core" / ".objects"
    before = set(objects.iterdir())
    run = python(root, "-m", "fuzzer.compiled")
    assert run.returncode == 0, run.stderr
    return len(set(objects.iterdir()) - before)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path)


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_toy(tmp_path_factory.mktemp("toy"))
    run = python(root, "-m", "fuzzer.compiled")
    assert run.returncode == 0, run.stderr
    assert ": 4 modules, ready in " in run.stdout
    return root


@pytest.fixture
def compiled_toy(compiled_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled_once, tmp_path / "toy")


def test_without_a_core_everything_runs_interpreted(toy: Path) -> None:
    assert report(toy).startswith(f"{RESULT} interpreted | interpreted: no core was compiled")


def test_a_core_that_is_demanded_and_missing_is_an_error(toy: Path) -> None:
    run = python(toy, "report.py", MMUFUZZ_CORE="compiled")
    assert run.returncode == 1
    assert "CoreError: MMUFUZZ_CORE=compiled: no core was compiled; compile it with `make compile`" in run.stderr


def test_an_unknown_mode_is_an_error(toy: Path) -> None:
    assert (
        "MMUFUZZ_CORE=fast: must be auto, compiled or interpreted"
        in python(toy, "report.py", MMUFUZZ_CORE="fast").stderr
    )


@pytest.mark.parametrize("mode", ["auto", "compiled"])
def test_choosing_after_a_core_module_was_imported_is_an_error(toy: Path, mode: str) -> None:
    late = "import reference_mmu.walk, fuzzer.compiled; fuzzer.compiled.use_compiled_core()"
    assert "and reference_mmu.walk is imported already" in python(toy, "-c", late, MMUFUZZ_CORE=mode).stderr


def test_without_a_c_compiler_one_line_says_so(toy: Path) -> None:
    run = python(toy, "-m", "fuzzer.compiled", CC="no-such-compiler -O2")
    assert run.returncode == 1
    assert run.stderr == ("core not compiled, everything runs interpreted: there is no C compiler (no-such-compiler)\n")
    assert report(toy).startswith(f"{RESULT} interpreted")


@pytest.mark.slow
@pytest.mark.compiler
class TestCompiled:
    def test_it_computes_the_same(self, compiled_toy: Path) -> None:
        for mode in ("auto", "compiled"):
            assert report(compiled_toy, MMUFUZZ_CORE=mode).startswith(f"{RESULT} compiled | compiled: core ")

    def test_it_can_be_refused(self, compiled_toy: Path) -> None:
        assert report(compiled_toy, MMUFUZZ_CORE="interpreted").startswith(f"{RESULT} interpreted | interpreted: asked")

    def test_no_extension_stands_beside_a_source(self, compiled_toy: Path) -> None:
        extensions = list(compiled_toy.rglob("*.so"))
        assert len(extensions) == 5  # four modules and the library they share
        assert all(file.is_relative_to(compiled_toy / "build" / "core") for file in extensions)
        assert [core.name for core in (compiled_toy / "build" / "core").glob(".*")] == [".objects"]

    @pytest.mark.parametrize(
        ("file", "old", "new", "result"),
        [
            ("reference_mmu/walk.py", "STEP = 1", "STEP = 2", "2803"),
            ("reference_mmu/config.py", "PAGES: Final = 8", "PAGES: Final = 4", "2803"),
            ("fuzzer/schedule/pct.py", "return 3", "return 4", "5604"),
        ],
        ids=["a compiled module", "a constant mypyc copied", "a subpackage"],
    )
    def test_an_edit_is_never_hidden(self, compiled_toy: Path, file: str, old: str, new: str, result: str) -> None:
        source = compiled_toy / file
        text = source.read_text()
        source.write_text(text.replace(old, new))
        assert report(compiled_toy).startswith(f"{result} interpreted | interpreted: the sources changed since")
        source.write_text(text)
        assert report(compiled_toy).startswith(f"{RESULT} compiled")

    def test_a_patched_model_on_the_path_is_never_hidden(self, compiled_toy: Path, tmp_path: Path) -> None:
        patched = tmp_path / "patched"
        shutil.copytree(compiled_toy / "reference_mmu", patched / "reference_mmu")
        walk = patched / "reference_mmu" / "walk.py"
        walk.write_text(walk.read_text().replace("STEP = 1", "STEP = 4"))
        script = f"import sys; sys.path[:0] = [{str(patched)!r}, {str(compiled_toy)!r}]; import report"
        assert python(compiled_toy, "-c", script).stdout.startswith("1403 interpreted")

    def test_installed_packages_keep_their_core_beside_them(self, compiled_toy: Path) -> None:
        (compiled_toy / "pyproject.toml").unlink()
        assert report(compiled_toy).startswith(f"{RESULT} interpreted | interpreted: no core was compiled")
        (compiled_toy / "build" / "core").rename(compiled_toy / "mmufuzz_core")
        assert report(compiled_toy).startswith(f"{RESULT} compiled")

    def test_it_is_compiled_once(self, compiled_toy: Path) -> None:
        # The compiler cannot have been called: there is none.
        again = python(compiled_toy, "-m", "fuzzer.compiled", CC="no-such-compiler")
        assert again.returncode == 0, again.stderr
        assert ": 4 modules, ready in " in again.stdout

    def test_what_is_compiled_already_is_only_linked(self, compiled_toy: Path) -> None:
        (core,) = (compiled_toy / "build" / "core").glob("[!.]*")
        shutil.rmtree(core)
        assert newly_compiled(compiled_toy) == 0
        assert report(compiled_toy).startswith(f"{RESULT} compiled")

    @pytest.mark.parametrize(
        ("file", "old", "new", "result", "objects"),
        [
            ("reference_mmu/walk.py", "gfn += STEP", "gfn += STEP * 2", "2803", 1),
            # Numbers of literals, and the layout of the generator, change with it; so does what makes the literals.
            (
                "reference_mmu/walk.py",
                "    entries = vec",
                "    assert [*'a new one'], 'b'\n    entries = vec",
                RESULT,
                2,
            ),
            ("reference_mmu/config.py", "PAGES: Final = 8", "PAGES: Final = 4", "2803", 1),
            # Its module and that of its subclass, and what declares all; who only calls need not know the layout.
            ("fuzzer/schedule/schedule.py", "    def", "    more: int = 0\n    def", RESULT, 3),
        ],
        ids=["a line", "a literal", "a constant mypyc copied", "a layout"],
    )
    def test_an_edit_compiles_what_it_changes(
        self, compiled_toy: Path, file: str, old: str, new: str, result: str, objects: int
    ) -> None:
        source = compiled_toy / file
        source.write_text(source.read_text().replace(old, new))
        assert newly_compiled(compiled_toy) == objects
        assert report(compiled_toy).startswith(f"{result} compiled")

    def test_an_error_of_the_c_compiler_is_told(self, compiled_toy: Path, tmp_path: Path) -> None:
        cores = sorted((compiled_toy / "build" / "core").iterdir())
        walk = compiled_toy / "reference_mmu" / "walk.py"
        walk.write_text(walk.read_text().replace("yield 7", "yield 8"))
        broken = tmp_path / "cc"
        broken.write_text("#!/bin/sh\necho 'cc: out of ideas' >&2\nexit 1\n")
        broken.chmod(0o755)
        run = python(compiled_toy, "-m", "fuzzer.compiled", CC=str(broken))
        assert run.returncode == 1
        assert run.stderr.startswith("core not compiled, everything runs interpreted: mypyc failed\n")
        assert "cc: out of ideas" in run.stderr
        assert "Traceback" not in run.stderr
        assert sorted((compiled_toy / "build" / "core").iterdir()) == cores

    @pytest.mark.parametrize(
        ("file", "line", "told"),
        [
            (
                "fuzzer/run/execute.py",
                "wrong: int = 'text'",
                (
                    "core not compiled, everything runs interpreted: mypyc failed\n",
                    "fuzzer/run/execute.py:15: error: Incompatible types in assignment",
                ),
            ),
            (
                "fuzzer/schedule/burst.py",  # which the report does not import: interpreted, it would fail as well
                "LIMIT = int('not a number')",
                ("the compiled modules do not load\n", "ValueError: invalid literal for int()"),
            ),
        ],
        ids=["does not compile", "does not load"],
    )
    def test_an_error_in_a_source_is_told_and_leaves_the_old_core(
        self, compiled_toy: Path, file: str, line: str, told: tuple[str, ...]
    ) -> None:
        cores = sorted((compiled_toy / "build" / "core").iterdir())
        with (compiled_toy / file).open("a") as source:
            source.write(f"\n{line}\n")
        run = python(compiled_toy, "-m", "fuzzer.compiled")
        assert run.returncode == 1
        assert all(words in run.stderr for words in told), run.stderr
        assert sorted((compiled_toy / "build" / "core").iterdir()) == cores
        assert report(compiled_toy).startswith(f"{RESULT} interpreted | interpreted: the sources changed since")
