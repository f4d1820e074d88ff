# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz effects`, and what a search says of effects that nobody announced."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from cli.allowing import advice, assessment
from cli.main import cli
from fuzzer.judge.finding import Finding, Verdict
from reference_mmu.changelog.effects import EFFECTS, GROUPS
from tests.golden import golden


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


def found(verdict: Verdict, what: str) -> Finding:
    kind, effects = ("divergence", (what,)) if what in EFFECTS else ("violation", ())
    finding = golden("collapsible-fewer-flushes").finding
    return msgspec.structs.replace(finding, verdict=verdict, what=what, kind=kind, effects=effects)


REPAIRED = found(Verdict.FIXED_SILENTLY, "stale-translation")
SAVED = found(Verdict.DOCUMENTED, "fewer-flushes")
BOTH = found(Verdict.BASELINE, "lost-dirty-page")


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ([REPAIRED, BOTH], "a fix: OLD shows stale-translation and NEW does not, and changes nothing else"),
        (
            [REPAIRED, SAVED],
            "a fix: OLD shows stale-translation and NEW does not; and it does what you announced: fewer-flushes",
        ),
        ([SAVED], "nothing breaks, and it does what you announced and no more: fewer-flushes"),
        (
            [found(Verdict.UNEXPLAINED, "fewer-flushes"), found(Verdict.UNEXPLAINED, "fewer-checks")],
            "nothing breaks, and less is done: an optimisation, if that is what it is meant to be",
        ),
        ([found(Verdict.UNEXPLAINED, "more-flushes")], ""),
        ([SAVED, found(Verdict.REGRESSION, "lost-write")], ""),
        ([BOTH], ""),
        ([], ""),
    ],
)
def test_a_change_that_needs_no_study_is_told_in_a_sentence(findings: list[Finding], said: str) -> None:
    assert assessment(findings) == said
