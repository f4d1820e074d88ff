# SPDX-License-Identifier: GPL-2.0-only
"""Passwords come from files as they come from the environment, in every command that wants them."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from cli.secret_files import SECRETS, read_secret_files
from db.session import open_database
from workers.settings import Settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and none of the variables; what a test sets is unset after it."""
    monkeypatch.chdir(tmp_path)
    for name in SECRETS:
        for variable in (name, f"{name}_FILE"):
            monkeypatch.setenv(variable, "")
            monkeypatch.delenv(variable)
    return tmp_path


def test_a_worker_gets_all_of_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        (here / name).write_text(f"https://user:{name.lower()}@host/x\n", encoding="utf-8")
        monkeypatch.setenv(f"{name}_FILE", str(here / name))
    read_secret_files()
    settings = Settings()
    for name in SECRETS:
        field = getattr(settings, name.removeprefix("MMUFUZZ_").lower())
        assert field.get_secret_value() == f"https://user:{name.lower()}@host/x"
    read_secret_files()  # as in a `mmufuzz` that a `mmufuzz` starts
    assert not [name for name in os.environ if name.startswith("MMUFUZZ_") and name.endswith("_FILE")]


@pytest.mark.parametrize("words", ["migrate up", "campaign list", "findings", "recheck"])
def test_every_command_finds_the_database(here: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    open_database("sqlite:///elsewhere.db").dispose()
    (here / "url").write_text("sqlite:///elsewhere.db\n", encoding="utf-8")
    monkeypatch.setenv("MMUFUZZ_DATABASE_FILE", "url")
    result = CliRunner().invoke(cli, words.split())
    assert result.exit_code == 0, result.output
    assert not (here / "mmufuzz.db").exists()


@pytest.mark.parametrize(
    ("content", "also", "said"),
    [
        (None, "", "cannot read url: No such file or directory; mend MMUFUZZ_DATABASE_FILE"),
        (b"", "", "url does not hold one line of text"),
        (b"\n \n", "", "url does not hold one line of text"),
        (b"sqlite:///a.db\nsqlite:///b.db\n", "", "url does not hold one line of text"),
        (b"\xff\xfe", "", "cannot read url: 'utf-8' codec"),
        (b"sqlite:///a.db", "sqlite:///b.db", "MMUFUZZ_DATABASE and MMUFUZZ_DATABASE_FILE are both set; unset one"),
    ],
)
def test_bad_files(here: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, also: str, said: str) -> None:
    if content is not None:
        (here / "url").write_bytes(content)
    monkeypatch.setenv("MMUFUZZ_DATABASE_FILE", "url")
    if also:
        monkeypatch.setenv("MMUFUZZ_DATABASE", also)
    result = CliRunner().invoke(cli, ["migrate", "up"])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert {file.name for file in here.iterdir()} <= {"url"}, "nothing was written"
