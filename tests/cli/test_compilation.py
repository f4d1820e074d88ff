# SPDX-License-Identifier: GPL-2.0-only
"""The core is compiled beside a search: by a stand-in for the compilation, which takes a minute."""

import signal
import time
from pathlib import Path

import pytest

import cli.compilation
import fuzzer.compiled
from cli.compilation import Compilation, Compiled


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
    with Compilation(None) as compilation:
        assert compilation.outcome() is None


def test_a_core_is_told_once(core: Path) -> None:
    stand_in(f"os.makedirs({str(core)!r})")
    with Compilation(core) as compilation:
        assert wait_for(compilation) == Compiled("c0de", "core c0de is compiled: the search goes on with it")
        assert compilation.outcome() is None


def test_what_the_compiler_says_is_told(core: Path) -> None:
    stand_in("sys.exit('core not compiled: zap.py:3: error: wrong  [assignment]')")
    with Compilation(core) as compilation:
        assert wait_for(compilation) == Compiled("", "core not compiled: zap.py:3: error: wrong  [assignment]")


def test_a_core_of_other_sources_is_not_used(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(f"os.makedirs({str(core)!r})")
    with Compilation(core) as compilation:
        monkeypatch.setattr(cli.compilation, "core_to_compile", lambda: core.with_name("f00d"))
        outcome = wait_for(compilation)
    assert outcome.core == ""
    assert outcome.line.startswith("the sources have changed")


def test_sources_that_changed_before_they_were_compiled(core: Path) -> None:
    stand_in("pass")
    with Compilation(core) as compilation:
        assert wait_for(compilation).line.startswith("the sources have changed")


def test_leaving_ends_it(core: Path) -> None:
    stand_in("print('there', file=sys.stderr, flush=True); time.sleep(200)")
    with Compilation(core) as compilation:
        process = compilation._process
        assert process is not None
    assert process.returncode == -signal.SIGTERM


def test_nothing_is_compiled_for_who_asked_for_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("interpreted", "compiled"):
        monkeypatch.setenv("MMUFUZZ_CORE", mode)
        assert fuzzer.compiled.core_to_compile() is None
