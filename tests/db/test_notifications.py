# SPDX-License-Identifier: GPL-2.0-only
"""One notification per signature, written with its finding; tried until it is sent, but not too often."""

import msgspec
import pytest
from sqlalchemy import Engine, event

from db.merges import Merges
from db.notifications import TRIES_MAX, Announcement, Notice, Notifications, Waiting
from db.session import StoreError
from db.store import Store
from fuzzer.judge.finding import Verdict
from tests.db.stored import NAME, SECOND, SECOND_NAME, THIRD, VIOLATION, Clock, new_campaign

HOURLY = 30


@pytest.fixture
def notifications(file_engine: Engine, clock: Clock) -> Notifications:
    return Notifications(file_engine, clock)


def all_due(notifications: Notifications) -> list[Notice]:
    notices = []
    while (notice := notifications.begin(HOURLY)) is not None:
        notifications.sent(notice.number)
        notices.append(notice)
    return notices


def test_the_first_of_a_signature_with_a_verdict_that_matters(
    clocked_store: Store, notifications: Notifications, clock: Clock
) -> None:
    new_campaign(clocked_store, VIOLATION, SECOND, THIRD)
    new_campaign(clocked_store, VIOLATION)
    notices = all_due(notifications)
    assert {notice.signature for notice in notices} == {NAME, SECOND_NAME}, "documented ones are none"
    told = msgspec.json.decode(next(n.body for n in notices if n.signature == NAME), type=Announcement)
    assert told == Announcement("first finding", 1, NAME, 100, clock(), VIOLATION)
    assert notifications.count() == Waiting(0, 0)


def test_a_verdict_that_gets_worse(clocked_store: Store, notifications: Notifications) -> None:
    new_campaign(clocked_store, msgspec.structs.replace(VIOLATION, verdict=Verdict.BASELINE))
    assert all_due(notifications) == []
    new_campaign(clocked_store, VIOLATION)
    assert [notice.signature for notice in all_due(notifications)] == [NAME]


def test_none_without_its_finding(clocked_store: Store, file_engine: Engine, notifications: Notifications) -> None:
    """The transaction fails after the notification was written."""

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO notifications"):
            raise OverflowError("planted")

    event.listen(file_engine, "after_cursor_execute", fail)
    with pytest.raises(StoreError, match="planted"):
        new_campaign(clocked_store, VIOLATION)
    event.remove(file_engine, "after_cursor_execute", fail)
    assert clocked_store.findings() == []
    assert not notifications.is_due()


def test_backs_off_and_gives_up(clocked_store: Store, notifications: Notifications, clock: Clock) -> None:
    new_campaign(clocked_store, VIOLATION)
    tries = []
    start = clock()
    for _ in range(TRIES_MAX):
        notice = notifications.begin(HOURLY)
        assert notice is not None
        tries.append((notice.number, (clock() - start).total_seconds()))
        assert notifications.begin(HOURLY) is None, "it is being tried"
        notifications.failed(notice.number, "the receiver\nanswers 500")
        while not notifications.is_due() and notifications.count().waiting:
            clock.pass_by(seconds=15)
    assert {number for number, _ in tries} == {1}, "by which the receiver knows it"
    assert [seconds for _, seconds in tries][:5] == [0, 15, 45, 105, 225]
    assert notifications.count() == Waiting(0, 1)
    clock.pass_by(days=1)
    assert not notifications.is_due()


def test_a_worker_that_dies_between_sending_and_saying_so(
    clocked_store: Store, notifications: Notifications, clock: Clock
) -> None:
    new_campaign(clocked_store, VIOLATION)
    first = notifications.begin(HOURLY)
    clock.pass_by(seconds=15)
    assert notifications.begin(HOURLY) == first


def test_the_rate(clocked_store: Store, notifications: Notifications, clock: Clock) -> None:
    new_campaign(clocked_store, VIOLATION, SECOND)
    first = notifications.begin(1)
    assert first is not None
    notifications.sent(first.number)
    assert notifications.begin(1) is None
    clock.pass_by(hours=1)
    second = notifications.begin(1)
    assert second is not None
    assert {first.signature, second.signature} == {NAME, SECOND_NAME}


def test_what_nobody_wanted_to_hear_becomes_old(
    clocked_store: Store, notifications: Notifications, clock: Clock
) -> None:
    new_campaign(clocked_store, VIOLATION)
    clock.pass_by(hours=23)
    assert notifications.is_due()
    clock.pass_by(hours=1)
    assert not notifications.is_due()


def test_what_is_merged_into_a_known_one_is_known(
    clocked_store: Store, file_engine: Engine, notifications: Notifications
) -> None:
    new_campaign(clocked_store, VIOLATION)
    baseline = msgspec.structs.replace(SECOND, verdict=Verdict.BASELINE)
    new_campaign(clocked_store, baseline)
    Merges(file_engine).merge(SECOND_NAME, NAME, "eve", "same")
    new_campaign(clocked_store, SECOND)
    assert [notice.signature for notice in all_due(notifications)] == [NAME]
