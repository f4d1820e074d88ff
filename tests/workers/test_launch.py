# SPDX-License-Identifier: GPL-2.0-only
"""What may be asked of a campaign, and what is said to the rest."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from db.fleets import Fleets
from db.session import open_database
from fuzzer.schedule.schedulers import STRATEGIES, STRATEGY_WORDS
from reference_mmu.version import model_version
from tests.refusals import refused
from workers.launch import BadWish, Wish, launch, prepared, read_form, read_wish


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(), "a campaign without end: give a budget of programs or of seconds, or let a regression end it"),
        (Wish(programs=1, old="new", new="old"), "new: it lacks 'add-kvm-faultin-pfn', which old has"),
        (Wish(programs=1, old="old-nosuch"), "old: unknown patch 'nosuch'"),
        (Wish(programs=1, new="newer"), "new: unknown semantics 'newer'"),
        (Wish(programs=1, strategies=("nosuch",)), r"strategies: 'nosuch' is none of random-walk, pct, burst"),
        (Wish(programs=1, name="x" * 201), "name: expected at most 200 printable characters"),
        (Wish(programs=1, name="\x1b[2J"), "name: expected at most 200 printable characters"),
        (Wish(programs=1, profile="nosuch\n"), r"profile: 'nosuch\n' is none of aging, "),
    ],
)
def test_what_makes_no_sense(wish: Wish, said: str) -> None:
    with refused(BadWish, said):
        prepared(wish)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "input data was truncated"),
        (b"[]", "expected object, got array"),
        (b'{"program": 1}', "object contains unknown field program"),
        (b'{"programs": 0}', "programs: expected int >= 1"),
        (b'{"programs": "1"}', "programs: expected int | null, got str"),
        (b'{"seed": 99999999999999999999}', "seed: "),
        (b'{"seed": -1}', "seed: expected int >= 0"),
        (b'{"old": ""}', "old: expected str of length >= 1"),
        (b"\xff", ""),
        (b"[" * 50_000, ""),
    ],
)
def test_what_is_no_wish(body: bytes, said: str) -> None:
    with refused(BadWish, said):
        read_wish(body)


def test_a_form_says_the_same_as_json() -> None:
    form = {"old": "old", "programs": "10", "seconds": "", "seed": " ", "until_regression": "true", "name": ""}
    assert read_form(form) == read_wish(b'{"programs": 10, "until_regression": true}')
    assert read_form({"programs": "1", "strategies": ["pct", "burst"]}).strategies == ("pct", "burst")
    assert read_form({"programs": "1", "strategies": []}).strategies is None
    with pytest.raises(BadWish, match=r"^programs: expected int"):
        read_form({"programs": "many"})


def test_a_strategy_gets_one_share_however_often_it_is_named() -> None:
    assert prepared(Wish(programs=1, strategies=("pct", "burst", "pct"))).searched.strategies == ("pct", "burst")


def test_every_strategy_is_explained() -> None:
    assert tuple(STRATEGY_WORDS) == STRATEGIES


def test_what_was_left_open_is_filled_in() -> None:
    searched = prepared(Wish(programs=10, new="no-struct-page+age-elides-tlb-flush")).searched
    assert searched.name == f"all --seed {searched.seed_first}"
    named = prepared(Wish(programs=10, seed=7, name="mine")).searched
    assert (named.name, named.seed_first) == ("mine", 7)


def test_a_campaign_as_it_is_stored(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    fleets = Fleets(engine)
    number = launch(
        fleets,
        Wish(profile="tdp", seed=5, seconds=60, batch_programs=10, slots_max=2, strategies=("pct",), memory_mib=64),
    )
    status = fleets.status(number)
    assert (status.campaign.seed_first, status.campaign.budget_seconds, status.campaign.profile) == (5, 60.0, "tdp")
    assert (status.plan.batch_programs, status.plan.slots_max, status.plan.memory_mib) == (10, 2, 64)
    assert status.campaign.strategies == ("pct",)
    assert status.campaign.model_version == model_version()
    engine.dispose()


@pytest.mark.parametrize(
    ("words", "said"), [("", "a campaign without end"), ("--programs 1 --old new --new old", "it lacks")]
)
def test_the_command_refuses_before_it_makes_a_database(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["campaign", "create", *words.split()])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_same_request_is_one_campaign(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    fleets, wish = Fleets(engine), Wish(programs=10)
    first = launch(fleets, wish, "mine")
    assert launch(fleets, wish, "mine") == first
    others = [
        launch(fleets, wish, "yours"),
        launch(fleets, Wish(programs=11), "mine"),
        launch(fleets, wish),
        launch(fleets, wish),
    ]
    assert len({first, *others}) == 5
    assert [status.campaign.id for status in fleets.statuses(9)] == sorted([first, *others], reverse=True)
    engine.dispose()
