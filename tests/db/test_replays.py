# SPDX-License-Identifier: GPL-2.0-only
"""Uploads: one receipt per content, a bound on what waits and on what is kept."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from db.replays import KEPT_MAX, WAITING_MAX, Replays, TooManyWaiting
from db.schema import ReplayState, UploadKind
from db.session import open_database


@pytest.fixture
def replays(tmp_path: Path) -> Iterator[Replays]:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    seconds = count()
    yield Replays(engine, lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds)))
    engine.dispose()


def test_the_same_content_is_one_replay(replays: Replays) -> None:
    first, again = replays.submit(b"a", "x"), replays.submit(b"a", "y")
    assert first == again
    assert first.state is ReplayState.WAITING
    assert replays.body(first.id) == b"a"
    assert replays.waiting() == [first.id]


def test_what_came_of_it_is_kept(replays: Replays) -> None:
    good, bad = replays.submit(b"good", "x").id, replays.submit(b"bad", "x").id
    replays.finish(good, b"{}", None)
    replays.finish(bad, None, "no reproducer")
    row = replays.get(good)
    assert row is not None
    assert (row.state, replays.trace(good)) == (ReplayState.DONE, b"{}")
    row = replays.get(bad)
    assert row is not None
    assert (row.state, row.error, replays.trace(bad)) == (ReplayState.FAILED, "no reproducer", None)
    assert replays.waiting() == []


def test_only_so_many_may_wait(replays: Replays) -> None:
    receipts = [replays.submit(str(number).encode(), "x").id for number in range(WAITING_MAX)]
    with pytest.raises(TooManyWaiting):
        replays.submit(b"one more", "x")
    assert replays.submit(b"0", "x").id == receipts[0]
    replays.finish(receipts[0], None, "")
    replays.submit(b"one more", "x")


def test_the_oldest_are_forgotten(replays: Replays) -> None:
    receipts = []
    for number in range(KEPT_MAX + 2):
        receipts.append(replays.submit(str(number).encode(), "x").id)
        replays.finish(receipts[-1], None, "")
    assert [replays.get(receipt) is None for receipt in receipts[:3]] == [True, True, False]


def test_an_unknown_receipt(replays: Replays) -> None:
    assert (replays.get("x"), replays.body("x"), replays.trace("x")) == (None, None, None)


def test_a_program_has_a_report_and_a_reproducer_a_trace(replays: Replays) -> None:
    program = replays.submit(b"program", "x", UploadKind.PROGRAM)
    reproducer = replays.submit(b"reproducer", "x")
    assert (program.kind, reproducer.kind) == (UploadKind.PROGRAM, UploadKind.REPRODUCER)
    for row in (program, reproducer):
        replays.finish(row.id, b"{}", None)
    assert (replays.report(program.id), replays.trace(program.id)) == (b"{}", None)
    assert (replays.report(reproducer.id), replays.trace(reproducer.id)) == (None, b"{}")
