# SPDX-License-Identifier: GPL-2.0-only
"""Where a finding became inevitable: found out behind the requests that ask, kept, limited, and told on the page."""

import threading
import time
from typing import Any

import pytest

from dashboard.replaying import Job, Replayer, ReplayFailed
from dashboard.resampling import WAITING_MAX, Resampling
from db.replays import TooManyWaiting
from tests.dashboard.site import BUG, Site

PAGE = f"/findings/1/{BUG}"


def found_out(site: Site) -> Any:
    deadline = time.monotonic() + 120
    while True:
        answer = site.get(f"/api/v1{PAGE}/chances")
        if answer.status_code != 202:
            return answer
        assert time.monotonic() < deadline


def test_it_is_told_by_the_api_and_then_on_the_page(own: Site) -> None:
    page = own.get(PAGE)
    assert "Where did it become inevitable?" in page.text
    assert "refresh" not in page.headers
    asked = own.get(f"{PAGE}?chances=yes")
    assert "Finding out where it became inevitable" in asked.text
    assert asked.headers["refresh"] == "2; url=?chances=yes&look=1#interleaving"
    told = found_out(own).json()
    assert 0 < told["inevitable"] < told["steps"]
    assert len(told["chances"]) == told["steps"] + 1
    text = own.get(PAGE).text
    assert f"Inevitable after step {told['inevitable']}</b>, vCPU1 write gfn 13 (#4) to " in text
    assert 'class="share"' in text
    assert "refresh" not in own.get(f"{PAGE}?chances=yes").headers


def test_a_finding_without_a_reproducer_has_no_chances(own: Site) -> None:
    with own.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM reproducers")
    assert own.get(f"/api/v1{PAGE}/chances").status_code == 404
    assert "inevitable" not in own.get(PAGE).text


class Gate(Replayer):
    """A replayer whose children wait until they are let go, and then fail."""

    def __init__(self) -> None:
        super().__init__(1, 64, 1)
        self.open = threading.Event()
        self.ran: list[bytes] = []

    def done(self, job: Job, body: bytes) -> bytes:
        assert job == "chances"
        assert self.open.wait(30)
        self.ran.append(body)
        raise ReplayFailed("not done")


def test_only_so_many_may_wait_and_asking_again_costs_nothing() -> None:
    gate = Gate()
    resampling = Resampling(gate)
    for number in range(WAITING_MAX):
        assert resampling.ask(str(number).encode()) is None
        assert resampling.ask(str(number).encode()) is None
    with pytest.raises(TooManyWaiting):
        resampling.ask(b"one more")
    assert resampling.known(b"one more") is None
    gate.open.set()
    resampling._thread.submit(lambda: None).result(timeout=30)
    assert len(gate.ran) == WAITING_MAX
    with pytest.raises(ReplayFailed, match="not done"):
        resampling.known(b"0")
    resampling.close()
