# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign searches comes back from its columns as it went in."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.campaigns import find_campaign, insert_campaign, new_campaign
from db.session import open_database, utc_now
from fuzzer.schedule.schedulers import STRATEGIES
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import runner_of, spelled_out
from reference_mmu.changelog.semantics import NEW, OLD
from reference_mmu.version import model_version


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path}/campaigns.db")


@pytest.mark.parametrize("strategies", [None, ("pct",), ("burst", "random-walk")])
def test_a_search_is_stored_as_columns_and_read_as_a_search(engine: Engine, strategies: tuple[str, ...] | None) -> None:
    search = SearchSpec(old="old", new="new", profile="tdp", seed=7, strategies=strategies)
    with engine.begin() as connection:
        number = insert_campaign(connection, utc_now(), new_campaign(search, name="mine", budget_programs=9))
        row = find_campaign(connection, number)
    assert row.search == search
    assert (row.old_spec, row.new_spec, row.profile, row.seed_first) == ("old", "new", "tdp", 7)
    assert (row.name, row.budget_programs, row.budget_seconds, row.model_version) == ("mine", 9, None, model_version())


def test_a_search_is_run_by_its_words() -> None:
    search = SearchSpec(old="old", new="new", profile="tdp", seed=7)
    runner = runner_of(search)
    assert [(one.old, one.new, one.leader) for one in runner.by_leader.values()] == [
        (OLD, NEW, "old"),
        (OLD, NEW, "new"),
    ]
    assert runner.profile.name == "tdp"
    assert runner.strategies == spelled_out(search).strategies == STRATEGIES
    one = SearchSpec(old="old", new="new", profile="tdp", seed=7, strategies=("pct",))
    assert runner_of(one).strategies == spelled_out(one).strategies == ("pct",)
