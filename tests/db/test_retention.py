# SPDX-License-Identifier: GPL-2.0-only
"""What is old goes, what still matters stays, and a dry run says the same as the deletion."""

from datetime import timedelta

from sqlalchemy import Engine, func, select

from db.history import Histories
from db.notifications import Notifications
from db.retention import Old, delete_old, find_old
from db.schema import Base, FindingState
from db.session import transaction
from db.store import Store
from fuzzer.judge.finding import BatchResult, FoundFinding
from tests.db.stored import NAME, THIRD, THIRD_NAME, VIOLATION, Clock, new_campaign


def rows(engine: Engine) -> dict[str, int]:
    with transaction(engine, "read") as connection:
        tables = Base.metadata.sorted_tables
        counts = {table.name: connection.scalar(select(func.count()).select_from(table)) for table in tables}
    return {name: count for name, count in counts.items() if count}


def test_old_campaigns_go_with_all_they_have(clocked_store: Store, file_engine: Engine, clock: Clock) -> None:
    old = new_campaign(clocked_store, THIRD)
    Histories(file_engine, clock).comment(THIRD_NAME, "eve", "text")
    kept = new_campaign(clocked_store, VIOLATION)
    running = new_campaign(clocked_store, THIRD, ended=False)
    clock.pass_by(days=90)
    young = new_campaign(clocked_store, THIRD)
    before = clock() - timedelta(days=30)
    found = find_old(file_engine, before)
    assert found == Old((old,), (kept,), 0)
    assert {row.id for row in clocked_store.campaigns()} == {old, kept, running, young}, "nothing was deleted yet"
    assert delete_old(file_engine, before) == found
    assert {row.id for row in clocked_store.campaigns()} == {kept, running, young}
    three = dict.fromkeys(("campaigns", "batches", "findings", "occurrences", "reproducers"), 3)
    assert rows(file_engine) == three | {"notifications": 1}
    assert find_old(file_engine, before) == Old((), (kept,), 0)


def test_a_failure_goes_when_somebody_said_what_became_of_it(
    clocked_store: Store, file_engine: Engine, clock: Clock
) -> None:
    campaign = new_campaign(clocked_store, VIOLATION)
    Histories(file_engine, clock).move(NAME, FindingState.FIXED, "ada", "commit 0123abc")
    clock.pass_by(days=90)
    assert delete_old(file_engine, clock()).campaigns == (campaign,)
    assert rows(file_engine) == {"notifications": 1}
    new_campaign(clocked_store, VIOLATION)
    assert Notifications(file_engine, clock).count().waiting == 1, "nobody is told twice"


def test_old_occurrences_go_but_for_those_that_matter(clocked_store: Store, file_engine: Engine, clock: Clock) -> None:
    campaign = new_campaign(clocked_store, THIRD, ended=False)
    for number in (1, 2):
        more = FoundFinding(THIRD, 5, 100 + 1000 * number, None)
        clocked_store.record(BatchResult(campaign, number, 1000 * number, 1000, 25_000, 0.5, 40, (more,)))
        clock.pass_by(days=60)
    before = clock() - timedelta(days=90)
    assert find_old(file_engine, before) == delete_old(file_engine, before) == Old((), (), 1)
    kept = [occurrence.program_seed for occurrence in clocked_store.occurrences(THIRD_NAME)]
    assert kept == [100, 2100], "the reproducer's and the young one"
    row = clocked_store.finding(THIRD_NAME)
    assert row is not None
    assert (row.count, row.batches) == (11, 3)
