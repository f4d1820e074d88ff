# SPDX-License-Identifier: GPL-2.0-only
"""Every command that docs/operating.md shows in an sh block: it is made of words that exist.

`make test-deploy` runs those that keep, give back and move the database.
"""

import re
import shlex

import pytest
from click.testing import CliRunner

from cli.main import cli
from tests.deploy.documented import OPERATING, commands_of
from tests.deploy.files import ROOT, manifests, services

TEXT = OPERATING.read_text(encoding="utf-8")
BLOCKS = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", "")
COMMANDS = [line for line in (re.sub(r"\s#.*", "", line).strip() for line in BLOCKS.splitlines()) if line]
COMPOSED = [command for command in COMMANDS if command.startswith("docker compose ")]
VERBS = {"up", "ps", "logs", "run", "exec", "stop", "restart", "build"}
# What takes a value in the next word.
VALUED = {"--scale", "--tail"}


def parts(command: str) -> tuple[list[str], str, list[str]]:
    """The files, the verb, and the words after it that are no options."""
    words = shlex.split(re.sub(r"[<>].*", "", command))[2:]
    files = []
    while words[0] == "-f":
        files.append(words[1])
        words = words[2:]
    verb, rest, plain = words[0], words[1:], list[str]()
    while rest:
        word = rest.pop(0)
        if word in VALUED:
            rest.pop(0)
        elif not word.startswith("-"):
            plain.append(word)
            if verb in ("run", "exec"):
                return files, verb, [word, *rest]
    return files, verb, plain


def test_there_are_commands() -> None:
    assert len(COMPOSED) >= 15
    assert len(COMMANDS) > len(COMPOSED)


@pytest.mark.parametrize("command", COMPOSED)
def test_a_compose_command_names_what_exists(command: str) -> None:
    files, verb, words = parts(command)
    assert files
    assert all((ROOT / file).is_file() for file in files)
    assert verb in VERBS
    named = words[:1] if verb in ("run", "exec") else words
    assert set(named) <= services().keys()


@pytest.mark.parametrize("command", [command for command in COMPOSED if parts(command)[1] == "run"])
def test_what_is_run_in_a_container_is_a_command_of_ours(command: str) -> None:
    words = parts(command)[2][1:]
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in COMPOSED])
def test_other_commands(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "kubectl":
        named = {f"{each['kind'].lower()}/{each['metadata']['name']}" for _, each in manifests()}
        assert {word for word in words if re.match(r"(service|deployment)/", word)} <= named
        assert "-k" not in words or (ROOT / words[-1] / "kustomization.yaml").is_file()
    elif words[0] == "deploy/secrets.sh":
        assert (ROOT / words[0]).stat().st_mode & 0o111
    else:
        assert words[0] in ("cat", "export"), command


def test_what_make_test_deploy_runs_is_there() -> None:
    assert [parts(command)[1] for command in commands_of("Backup")] == ["exec"]
    assert [parts(command)[1] for command in commands_of("Restore")] == ["stop", *["exec"] * 3, "restart", "up"]
    assert [parts(command)[1] for command in commands_of("Upgrade")] == ["build", "up", "stop", "run"]
    assert "\n### " in TEXT
