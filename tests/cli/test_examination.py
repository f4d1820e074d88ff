# SPDX-License-Identifier: GPL-2.0-only
"""Checks of `mmufuzz doctor` that need no server; the others are in tests/service."""

import pytest

from cli.examination import SKEW_SECONDS_MAX, Rating, clock, disk
from db.condition import Server
from tests.cli.shell import ROOT, mmufuzz


@pytest.mark.parametrize(
    ("skew", "health", "text"),
    [
        (0.9, Rating.OK, "within 1 s of that of the database"),
        (-2.0, Rating.WARNING, "2.0 s ahead of that of the database"),
        (SKEW_SECONDS_MAX + 1, Rating.FAILED, "6.0 s behind that of the database"),
    ],
)
def test_clock(skew: float, health: Rating, text: str) -> None:
    told, check = clock(Server("17.2", 5 * 2**20, skew))
    assert told.text == "PostgreSQL 17.2, 5 MiB"
    assert (check.health, check.text, bool(check.step)) == (health, text, health is not Rating.OK)


def test_disk() -> None:
    check = disk(str(ROOT))
    assert "GiB free" in check.text
    assert (check.health is Rating.OK) == (not check.step)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WEBHOOK_URL", "http://receiver.example", "Value error, webhook_url needs a webhook_secret"),
        ("METRICS_PORT", "70000", "Input should be less than or equal to 65535"),
        ("WEBHOOK_STOPPED", "perhaps", "Input should be a valid boolean"),
    ],
)
def test_settings_that_make_no_sense(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MMUFUZZ_{name}", value)
    run = mmufuzz("doctor", ROOT)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
