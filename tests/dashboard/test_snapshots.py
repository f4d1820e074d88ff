# SPDX-License-Identifier: GPL-2.0-only
"""What many want to know is found out once, and nobody waits for what takes long if there is an older answer."""

from itertools import count
from threading import Event, Thread

import pytest

from dashboard.snapshots import Snapshots


class Now:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def test_a_value_is_made_again_when_it_is_old() -> None:
    now, numbers = Now(), count()
    snapshots: Snapshots[int] = Snapshots(1.0, now)
    assert [snapshots.get("a", lambda: next(numbers)) for _ in range(3)] == [0, 0, 0]
    assert snapshots.get("b", lambda: next(numbers)) == 1
    now.time = 1.5
    assert snapshots.get("a", lambda: next(numbers)) == 2


def test_what_cannot_be_made_is_tried_again() -> None:
    def fail() -> int:
        raise ValueError("no")

    snapshots: Snapshots[int] = Snapshots(1.0, Now())
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            snapshots.get("a", fail)
    assert snapshots.get("a", lambda: 1) == 1


def test_who_asks_meanwhile_gets_the_value_before() -> None:
    now = Now()
    snapshots: Snapshots[str] = Snapshots(1.0, now)
    snapshots.get("a", lambda: "old")
    now.time = 2.0
    begun, go_on = Event(), Event()

    def slow() -> str:
        begun.set()
        assert go_on.wait(30)
        return "new"

    maker = Thread(target=snapshots.get, args=("a", slow))
    maker.start()
    assert begun.wait(30)
    assert snapshots.get("a", lambda: "another") == "old"
    go_on.set()
    maker.join()
    assert snapshots.get("a", lambda: "another") == "new"
