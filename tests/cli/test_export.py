# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz export`, and `mmufuzz replay` of what it wrote."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from fuzzer.reproducer import encode_reproducer
from fuzzer.tell.export.forms import FORMS
from tests.golden import golden


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "bug.json"
    path.write_bytes(encode_reproducer(golden("bug-219588")))
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_written_and_replays(file: str, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"out{FORMS[form].suffix}"
    made = CliRunner().invoke(cli, ["export", file, "--as", form, "--out", str(out), "--json", "-"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["bytes_total"] == out.stat().st_size
    replayed = CliRunner().invoke(cli, ["replay", str(out)])
    assert replayed.exit_code == 0, replayed.output
    assert "reproduced exactly: fixed" in replayed.output


def test_to_standard_output(file: str) -> None:
    result = CliRunner().invoke(cli, ["export", file, "--as", "story"])
    assert result.exit_code == 0
    assert result.stdout.startswith("# Replay this file: mmufuzz replay FILE\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--as", "story", "--json", "-"], "both want standard output; name a file with --out"),
        (["--as", "nosuch"], "'nosuch' is not one of"),
        ([], "Missing option '--as'"),
        (["--as", "story", "--out", "missing/x"], "No such file or directory; name another file"),
    ],
)
def test_bad_input(file: str, tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["export", file, *words])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
