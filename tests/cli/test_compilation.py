# SPDX-License-Identifier: GPL-2.0-only
"""The core is compiled beside a search, that of a change too: by a stand-in for the compiler."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cli.compilation
import fuzzer.compiled
from cli.compilation import Compilation, Compiled, Plan, planned
from fuzzer.change.merge import Unmergeable


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the core would be. `python -m fuzzer.compiled` is what a test writes there."""
    (tmp_path / "fuzzer").mkdir()
    (tmp_path / "fuzzer" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli.compilation, "core_to_compile", lambda: tmp_path / "cores" / "c0de")
    return tmp_path / "cores" / "c0de"


def stand_in(script: str) -> None:
    Path("fuzzer", "compiled.py").write_text(f"import os, sys, signal, time\n{script}\n")


def wait_for(compilation: Compilation) -> Compiled:
    while (outcome := compilation.outcome()) is None:
        time.sleep(0.01)
    return outcome


def test_nothing_to_compile() -> None:
    with Compilation(Plan()) as compilation:
        assert compilation.outcome() is None


def test_a_core_is_told_once(core: Path) -> None:
    stand_in(f"os.makedirs({str(core)!r})")
    with Compilation(Plan(core=core)) as compilation:
        assert wait_for(compilation) == Compiled("c0de", "core c0de is compiled: the search goes on with it")
        assert compilation.outcome() is None


def test_what_the_compiler_says_is_told(core: Path) -> None:
    stand_in("sys.exit('core not compiled: zap.py:3: error: wrong  [assignment]')")
    with Compilation(Plan(core=core)) as compilation:
        assert wait_for(compilation) == Compiled("", "core not compiled: zap.py:3: error: wrong  [assignment]")


def test_a_core_of_other_sources_is_not_used(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(f"os.makedirs({str(core)!r})")
    with Compilation(Plan(core=core)) as compilation:
        monkeypatch.setattr(cli.compilation, "core_to_compile", lambda: core.with_name("f00d"))
        outcome = wait_for(compilation)
    assert outcome.core == ""
    assert outcome.line.startswith("the sources have changed")


def test_sources_that_changed_before_they_were_compiled(core: Path) -> None:
    stand_in("pass")
    with Compilation(Plan(core=core)) as compilation:
        assert wait_for(compilation).line.startswith("the sources have changed")


def test_leaving_ends_it(core: Path) -> None:
    stand_in("print('there', file=sys.stderr, flush=True); time.sleep(200)")
    with Compilation(Plan(core=core)) as compilation:
        process = compilation._process
        assert process is not None
    assert process.returncode == -signal.SIGTERM


def test_a_merged_copy_is_what_is_compiled(core: Path, tmp_path: Path) -> None:
    packages = tmp_path / "copy"
    (packages / "fuzzer").mkdir(parents=True)
    (packages / "fuzzer" / "__init__.py").touch()
    (packages / "fuzzer" / "compiled.py").touch()
    stand_in("sys.exit('not these sources')")
    with Compilation(Plan(packages, core=core)) as compilation:
        assert wait_for(compilation) == Compiled("c0de", "core c0de is compiled: the search goes on with it")


@pytest.fixture
def merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a merged copy would be, and its core in there."""

    @contextmanager
    def copy(diff: str, base: str) -> Iterator[Path]:
        yield tmp_path

    monkeypatch.setattr(cli.compilation, "merged_copy", copy)
    monkeypatch.setattr(cli.compilation, "core_of_copy", lambda folder: folder / "c0de")
    monkeypatch.setattr(cli.compilation, "why_not_compile", lambda: "")
    return tmp_path


def test_a_change_is_compiled_beside_a_search_that_lasts(merged: Path) -> None:
    with planned("diff", "", 60) as plan:
        assert (plan.packages, plan.ready, plan.core) == (merged, "", merged / "c0de")
        assert plan.line.startswith("core interpreted: the change is compiled meanwhile")
    for seconds in (0, 19):
        with planned("diff", "", seconds) as plan:
            assert plan == Plan(line="core interpreted: a change that is new is compiled beside --seconds 20 or more")


def test_a_change_that_was_compiled_before_is_there_at_once(merged: Path) -> None:
    (merged / "c0de").mkdir()
    for seconds in (0, 60):
        with planned("diff", "", seconds) as plan:
            assert plan == Plan(merged, ready="c0de", line="core compiled: core c0de, with the change")


def test_why_a_change_is_not_compiled_is_said(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(diff: str, base: str) -> Path:
        raise Unmergeable("x86/spte.py has another 'for'")

    monkeypatch.setattr(cli.compilation, "merged_copy", refuse)
    with planned("diff", "", 60) as plan:
        assert plan == Plan(line="core interpreted: the change cannot be compiled, x86/spte.py has another 'for'")
    monkeypatch.setattr(cli.compilation, "why_not_compile", lambda: "there is no C compiler (cc)")
    with planned("diff", "", 60) as plan:
        assert plan == Plan(line="core interpreted: there is no C compiler (cc)")


def test_nothing_is_compiled_for_who_asked_for_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("interpreted", "compiled"):
        monkeypatch.setenv("MMUFUZZ_CORE", mode)
        assert fuzzer.compiled.core_to_compile() is None
        assert fuzzer.compiled.why_not_compile() == "asked for by MMUFUZZ_CORE"
