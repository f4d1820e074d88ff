# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz campaign create --if-none`: a deployment that is started again does not search everything twice."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from db import campaigns
from db.fleets import Fleets
from db.schema import CampaignState
from db.session import open_database

URL = "sqlite:///mmufuzz.db"
WORDS = ["campaign", "create", "--if-none", "--seconds", "10", "--db", URL]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def created() -> str:
    result = CliRunner().invoke(cli, WORDS)
    assert result.exit_code == 0, result.output
    return result.stdout


def numbers() -> list[int]:
    return [status.campaign.id for status in Fleets(open_database(URL)).statuses(10)]


def test_the_second_time_nothing_is_created() -> None:
    assert "campaign 1: watch it" in created()
    assert "campaign 1 is there, of model " in created()
    assert numbers() == [1]


def test_one_that_was_stopped_stays_stopped() -> None:
    created()
    fleets = Fleets(open_database(URL))
    fleets.stop(1)
    created()
    assert [status.campaign.state for status in fleets.statuses(10)] == [CampaignState.STOPPED]


def test_a_new_model_gets_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    created()
    monkeypatch.setattr(campaigns, "model_version", lambda: "0123456789ab")
    created()
    created()
    assert numbers() == [2, 1]
