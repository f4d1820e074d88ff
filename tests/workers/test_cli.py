# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a whole: help that teaches, versions, the console script."""

import re
import tomllib

import click
import pytest
from click.testing import CliRunner

from reference_mmu import __version__
from reference_mmu.version import model_version
from tests.workers.shell import ROOT
from workers.cli import COMMANDS, cli
from workers.refusal import one_line_errors

# A group of which every subcommand has it, and one that never ends and logs JSON.
WITHOUT_DOCUMENT = {"campaign", "worker"}


def test_every_command_module_is_listed() -> None:
    modules = {file.stem for file in (ROOT / "workers" / "commands").glob("*.py")} - {"__init__"}
    assert modules == set(COMMANDS)


def test_the_console_script_is_this() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"mmufuzz": "workers.cli:main"}


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
        for subcommand in getattr(loaded, "commands", ()):
            assert "--json" in CliRunner().invoke(cli, [command, subcommand, "--help"]).stdout, (command, subcommand)


def test_version() -> None:
    text = CliRunner().invoke(cli, ["--version"]).stdout
    assert text.startswith(f"mmufuzz {__version__}, model {model_version()}, interpreted")


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2
    assert "Start here:" in result.output


def test_ctrl_c_ends_with_130() -> None:
    with pytest.raises(click.exceptions.Exit) as ended, one_line_errors():
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
