# SPDX-License-Identifier: GPL-2.0-only
"""Every model version runs every reproducer once; what comes out moves the finding, but not from a person's invalid."""

import pytest
from sqlalchemy import Engine

from db.history import Histories
from db.rechecks import ASKS_MAX, Moved, Rechecks, Seen
from db.schema import FindingState
from db.store import Store
from tests.db.stored import MODEL, NAME, OTHER, SECOND, SECOND_NAME, VIOLATION, Clock, new_campaign

OPEN, FIXED, GONE, INVALID = FindingState.OPEN, FindingState.FIXED, FindingState.GONE, FindingState.INVALID


@pytest.fixture
def rechecks(clocked_store: Store, file_engine: Engine, clock: Clock) -> Rechecks:
    """By another model than the one that found the two findings."""
    new_campaign(clocked_store, VIOLATION, SECOND)
    return Rechecks(file_engine, OTHER, clock)


def names(rechecks: Rechecks) -> set[str]:
    return {due.signature for due in rechecks.due()}


def test_another_model_runs_each_once(rechecks: Rechecks, file_engine: Engine) -> None:
    assert Rechecks(file_engine, MODEL).due() == [], "it found them"
    assert names(rechecks) == {NAME, SECOND_NAME}
    for due in rechecks.due():
        assert rechecks.body(due.finding) == due.signature.encode()
        assert rechecks.store(due.finding, Seen(OPEN, "shows"), "eve") == Moved(OPEN, OPEN)
    assert rechecks.due() == []
    assert names(Rechecks(file_engine, "third")) == {NAME, SECOND_NAME}
    assert [due.signature for due in rechecks.all((NAME,))] == [NAME]
    assert len(rechecks.all()) == 2
    assert Histories(file_engine).of(NAME) == [], "nothing happened to it"


def test_states_move_and_the_history_says_why(rechecks: Rechecks, file_engine: Engine, clocked_store: Store) -> None:
    (finding,) = [due.finding for due in rechecks.due() if due.signature == NAME]
    for state in (FIXED, OPEN, GONE, INVALID, OPEN):
        moved = rechecks.store(finding, Seen(state, f"looks {state}"), "eve")
        assert moved is not None
        assert moved.after is state
    told = [(row.from_state, row.to_state, row.why) for row in Histories(file_engine).of(NAME)]
    assert told == [
        (OPEN, FIXED, f"model {OTHER}: looks fixed"),
        (FIXED, OPEN, f"model {OTHER}: looks open"),
        (OPEN, GONE, f"model {OTHER}: looks no-longer-reproduces"),
        (GONE, INVALID, f"model {OTHER}: looks invalid"),
        (INVALID, OPEN, f"model {OTHER}: looks open"),
    ]
    row = clocked_store.finding(NAME)
    assert row is not None
    assert row.state is OPEN


def test_what_a_person_calls_invalid_stays_so(rechecks: Rechecks, file_engine: Engine) -> None:
    finding = rechecks.due()[0].finding
    name = rechecks.due()[0].signature
    histories = Histories(file_engine)
    histories.move(name, INVALID, "ada", "no barrier in the model")
    assert rechecks.store(finding, Seen(OPEN, "shows"), "eve") == Moved(INVALID, INVALID)
    histories.move(name, FIXED, "ada", "commit 0123abc")
    assert rechecks.store(finding, Seen(OPEN, "shows"), "eve") == Moved(FIXED, OPEN), "fixed is a claim to be checked"


def test_one_that_was_not_run_stays_where_it_is_and_says_so_once(rechecks: Rechecks, file_engine: Engine) -> None:
    due = rechecks.due()[0]
    for _ in range(2):
        assert rechecks.store(due.finding, Seen(None, "not run"), "eve") == Moved(OPEN, OPEN)
    assert [row.why for row in Histories(file_engine).of(due.signature)] == [f"model {OTHER}: not run"]


def test_claims_are_handed_out_once_and_again_after_a_while(rechecks: Rechecks, clock: Clock) -> None:
    first = rechecks.claim(1)
    second = rechecks.claim(10)
    assert len(first) == len(second) == 1
    assert first != second
    assert rechecks.claim(10) == []
    rechecks.store(second[0], Seen(OPEN, "shows"), "eve")
    for _ in range(ASKS_MAX - 1):
        clock.pass_by(minutes=16)
        assert rechecks.claim(10) == first
    clock.pass_by(minutes=16)
    assert rechecks.claim(10) == [], "what nobody survives is left to people"
    assert len(rechecks.due()) == 1


def test_a_finding_that_is_gone(rechecks: Rechecks) -> None:
    assert rechecks.body(999) is None
    assert rechecks.store(999, Seen(OPEN, "shows"), "eve") is None
