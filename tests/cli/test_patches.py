# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue on the command line."""

import json
import re

import pytest
from click.testing import CliRunner

from cli.main import cli
from fuzzer.change.fold import patch_diff
from fuzzer.checked import checked_rows
from reference_mmu.changelog.patches import PATCHES


def test_lists_every_patch_with_its_state() -> None:
    rows = json.loads(CliRunner().invoke(cli, ["patches", "--json", "-"]).stdout)["patches"]
    assert [row["patch"]["id"] for row in rows] == list(PATCHES)
    for row in rows:
        patch = PATCHES[row["patch"]["id"]]
        assert bool(row["sites"]) == (patch.modelled and patch.kind != "series")
        assert (row["state"] == "not modelled yet") == (not patch.modelled)
        assert row["link"].endswith(f"?id={patch.upstream}")
    table = CliRunner().invoke(cli, ["patches"]).stdout
    assert all(patch in table for patch in PATCHES)


def test_counts_the_rows_and_what_of_them_the_model_has() -> None:
    in_changelog, apart = (
        CliRunner().invoke(cli, ["patches"]).stdout.split("also switchable, no rows of the changelog:")
    )
    modelled = sum(patch.listed and patch.modelled for patch in PATCHES.values())
    assert f"85 in the catalogue, {modelled} modelled: " in in_changelog
    assert [patch.id for patch in PATCHES.values() if not patch.listed and patch.id in apart] == [
        "x86-dirty-at-spte-creation",
        "x86-accessed-at-leaf-zap-only",
        "nvmx-vmcs12-maps",
        "pfncache-release-unused",
        "arm64-faultin-pfn",
        "gfn-to-page-exact",
        "drop-gfn-to-pfn",
    ]


def test_a_row_says_what_was_shown_with_which_model_and_how_to_see_it_again() -> None:
    checked = checked_rows()["age-elides-tlb-flush"]
    (line,) = [
        line
        for line in CliRunner().invoke(cli, ["patches"]).stdout.splitlines()
        if line.startswith("age-elides-tlb-flush")
    ]
    assert re.search(r"exposed after \d+ programs?: fewer-flushes", line)
    assert line.split()[-3:] == [checked.model, "docs/exposed/age-elides-tlb-flush.json", "b9883ee40d7e"]


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
