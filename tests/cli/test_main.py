# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a whole: help that teaches, versions, the console script."""

import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, cli
from cli.one_line_errors import one_line_errors
from reference_mmu import __version__
from reference_mmu.version import model_version
from tests.cli.shell import COMMAND, ROOT, environment
from tests.service.waiting import wait_until

# A group of which every subcommand has it, one that never ends and logs JSON, and one that serves until it is ended.
WITHOUT_DOCUMENT = {"campaign", "worker", "dashboard"}


def test_every_command_module_is_listed() -> None:
    modules = {file.stem for file in (ROOT / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert modules == set(COMMANDS)


def test_the_console_script_is_this() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"mmufuzz": "cli.main:main"}


def test_help_names_every_command_and_gives_examples() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    assert all(re.search(rf"^  {command}  +\S", text, re.MULTILINE) for command in COMMANDS)
    assert "mmufuzz replay findings/FILE" in text
    for command in COMMANDS:
        result = CliRunner().invoke(cli, [command, "--help"])
        assert result.exit_code == 0
        assert f"mmufuzz {command}" in result.stdout, "an example, not only options"
        assert "--json" in result.stdout or command in WITHOUT_DOCUMENT
        loaded = cli.get_command(click.Context(cli), command)
        for subcommand in getattr(loaded, "commands", ()) if command != "dashboard" else ():
            assert "--json" in CliRunner().invoke(cli, [command, subcommand, "--help"]).stdout, (command, subcommand)


def test_version() -> None:
    text = CliRunner().invoke(cli, ["--version"]).stdout
    assert text.startswith(f"mmufuzz {__version__}, model {model_version()}, interpreted")


def help_pages(command: click.Command, *words: str) -> Iterator[tuple[str, str]]:
    """The help of a command and of all below it, in a terminal of 80 columns."""
    yield " ".join(words), CliRunner().invoke(cli, [*words, "--help"], terminal_width=80).stdout
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from help_pages(below, *words, name)


def test_help_fits_a_terminal() -> None:
    pages = dict(help_pages(cli))
    assert {"", "run", "campaign create"} <= pages.keys()
    assert [(page, line) for page, text in pages.items() for line in text.splitlines() if len(line) > 80] == []


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2
    assert "Start here:" in result.output


def test_ctrl_c_ends_with_130() -> None:
    with pytest.raises(click.exceptions.Exit) as ended, one_line_errors():
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130


def test_a_stop_while_it_starts_is_not_lost(tmp_path: Path) -> None:
    """The kernel drops a signal without a handler if the process is the first of its container."""
    process = subprocess.Popen([*COMMAND, "worker"], cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")

    def handles() -> bool:
        caught = re.search(r"^SigCgt:\t(\w+)$", status.read_text(encoding="ascii"), re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)

    wait_until(handles, "SIGTERM has a handler", seconds=60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
