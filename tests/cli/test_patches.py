# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue on the command line."""

import json

import pytest
from click.testing import CliRunner

from cli.main import cli
from fuzzer.change.fold import patch_diff
from reference_mmu.changelog.patches import PATCHES


def test_lists_every_patch_with_its_state() -> None:
    rows = json.loads(CliRunner().invoke(cli, ["patches", "--json", "-"]).stdout)["patches"]
    assert [row["patch"]["id"] for row in rows] == list(PATCHES)
    assert all(row["state"] == "switchable" and row["sites"] for row in rows)
    table = CliRunner().invoke(cli, ["patches"]).stdout
    assert all(patch in table for patch in PATCHES)


@pytest.mark.parametrize("patch", PATCHES)
def test_shows_a_patch(patch: str) -> None:
    result = CliRunner().invoke(cli, ["patches", "show", patch])
    assert result.exit_code == 0
    assert PATCHES[patch].upstream in result.stdout
    assert all(f"{effect}: " in result.stdout for effect in PATCHES[patch].allowed | PATCHES[patch].forbidden)
    assert result.stdout.endswith(patch_diff(patch))


def test_json_of_one_patch() -> None:
    document = json.loads(CliRunner().invoke(cli, ["patches", "show", "age-elides-tlb-flush", "--json", "-"]).stdout)
    assert document["patch"]["patch"]["requires"] == ["age-flush-elision-kconfig"]
    assert document["diff"] == patch_diff("age-elides-tlb-flush")
