# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz dashboard` is closed by default, and says in one line what is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.commands.dashboard import read_settings, secret_of
from cli.main import cli
from db.session import open_database
from db.tokens import Tokens

GOOD = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def token_file(text: str, mode: int = 0o600) -> str:
    path = Path("admin.token")
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (list, "the dashboard is closed by default: give a --token-file, or --without-tokens"),
        (lambda: ["--token-file", "missing"], "cannot read missing: No such file or directory"),
        (lambda: ["--token-file", token_file("short")], "one line of at least 32 characters"),
        (lambda: ["--token-file", token_file(f"{GOOD}\n{GOOD}")], "one line of at least 32 characters"),
        (lambda: ["--token-file", token_file(GOOD, 0o666)], "everybody may write admin.token"),
        (lambda: ["--without-tokens", "--host", "0.0.0.0"], "--without-tokens is for 127.0.0.1 alone"),
        (lambda: ["--without-tokens", "--token-file", token_file(GOOD)], "exclude each other"),
        (lambda: ["--without-tokens", "--db", "nosuch://x"], "name another database with --db"),
        (lambda: ["--port", "99999"], "99999 is not in the range"),
        (lambda: ["token", "a\nb"], "expected 1 to 64 printable characters"),
        (lambda: ["token", "a", "--level", "root"], "'root' is not one of"),
    ],
)
def test_bad_input(words: Callable[[], list[str]], said: str) -> None:
    result = CliRunner().invoke(cli, ["dashboard", *words()])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_bad_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMUFUZZ_REPLAY_SECONDS", "soon")
    result = CliRunner().invoke(cli, ["dashboard", "--without-tokens"])
    assert result.exit_code == 2
    assert "MMUFUZZ_REPLAY_SECONDS" in result.stderr


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMUFUZZ_TOKEN_FILE", token_file(f"{GOOD}\n"))
    assert secret_of(read_settings({})) == GOOD


def test_a_secret_that_others_may_read_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert secret_of(read_settings({"token_file": token_file(GOOD, 0o644)})) == GOOD
    assert "WARNING: everybody on this host may read admin.token" in capsys.readouterr().err


def test_a_token_is_printed_once_and_works() -> None:
    result = CliRunner().invoke(cli, ["dashboard", "token", "ci", "--level", "operate"])
    assert result.exit_code == 0
    engine = open_database("sqlite:///mmufuzz.db")
    token = Tokens(engine).valid(result.stdout.strip())
    assert token is not None
    assert (token.name, token.level) == ("ci", "operate")
    engine.dispose()
