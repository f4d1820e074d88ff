# SPDX-License-Identifier: GPL-2.0-only
"""Object files are named by what they were made from, and the latest used are kept. The interpreter is the compiler."""

import os
import sys
from pathlib import Path

import pytest

from fuzzer.core import objects
from fuzzer.core.objects import Objects

COMMAND = [sys.executable, "-E"]


class Compiler:
    """Counts how often it is called; its objects have ten bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = 0

    def __call__(self) -> Path:
        self.calls += 1
        made = self.folder / "made.o"
        made.write_bytes(b"0123456789")
        return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "walk.c"
    file.write_text("int walk;\n")
    return file


def test_the_same_is_compiled_once(source: Path, tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    first = Objects(tmp_path / "kept", COMMAND).of(source, compiler)
    again = Objects(tmp_path / "kept", COMMAND).of(source.rename(tmp_path / "other.c"), compiler)
    assert (again, compiler.calls) == (first, 1)
    assert first.read_bytes() == b"0123456789"
    assert list((tmp_path / "kept").iterdir()) == [first]


def test_another_text_or_another_option_is_another_object(source: Path, tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    found = {
        Objects(tmp_path / "kept", COMMAND).of(source, compiler),
        Objects(tmp_path / "kept", [*COMMAND, "-s"]).of(source, compiler),
    }
    source.write_text("long walk;\n")
    found.add(Objects(tmp_path / "kept", COMMAND).of(source, compiler))
    assert (len(found), compiler.calls) == (3, 3)


def test_another_header_of_mypyc_is_another_object(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = tmp_path / "include" / "below" / "CPy.h"
    header.parent.mkdir(parents=True)
    monkeypatch.setattr(objects, "include_dir", lambda: str(tmp_path / "include"))
    found = set()
    for text in ("int a;", "int b;"):
        header.write_text(text)
        found.add(Objects(tmp_path / "kept", COMMAND).of(source, Compiler(tmp_path)))
    assert len(found) == 2


def test_what_fails_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def fail() -> Path:
        raise ValueError("no such header")

    with pytest.raises(ValueError, match="no such header"):
        Objects(tmp_path / "kept", COMMAND).of(source, fail)
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_latest_used_are_kept(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BYTES_KEPT", 25)
    store = Objects(tmp_path / "kept", COMMAND)
    made = []
    for number in range(3):
        source.write_text(f"int walk{number};\n")
        made.append(store.of(source, Compiler(tmp_path)))
        os.utime(made[-1], (number, number))
    source.write_text("int walk0;\n")
    assert store.of(source, Compiler(tmp_path)) == made[0]  # used again
    store.drop_old()
    assert set((tmp_path / "kept").iterdir()) == {made[0], made[2]}
