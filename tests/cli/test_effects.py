# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz effects`, and what a search says of effects that nobody announced."""

import json

from click.testing import CliRunner

from cli.allowing import advice
from cli.main import cli
from reference_mmu.changelog.effects import EFFECTS, GROUPS


def test_every_effect_is_listed_with_its_groups() -> None:
    report = json.loads(CliRunner().invoke(cli, ["effects", "--json", "-"]).stdout)
    assert [row["effect"] for row in report["effects"]] == list(EFFECTS)
    assert {row["effect"]: row["groups"] for row in report["effects"]}["fewer-flushes"] == ["cost", "all"]
    assert report["groups"].keys() == GROUPS.keys()


def test_one_group_can_be_asked_for() -> None:
    text = CliRunner().invoke(cli, ["effects", "--group", "bits"]).stdout
    assert "raw-dirty-bit" in text
    assert "fewer-flushes" not in text


def test_the_advice_is_what_to_type_and_what_it_means() -> None:
    lines = list(advice(["fewer-checks", "fewer-flushes"]))
    assert "  --allow fewer-checks --allow fewer-flushes, or --allow cost" in lines
    assert f"  fewer-flushes: {EFFECTS['fewer-flushes']}" in lines


def test_no_group_is_named_where_only_all_has_them() -> None:
    lines = list(advice(["fewer-checks", "raw-dirty-bit"]))
    assert lines[1] == "  --allow fewer-checks --allow raw-dirty-bit"
    assert list(advice([])) == []
