# SPDX-License-Identifier: GPL-2.0-only
"""Where a finding became inevitable: found out behind the requests that ask, kept, limited, and told on the page."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dashboard.replaying import WAITING_MAX, Job, Replayer
from dashboard.resampling import OF_VISITOR_MAX, Resampling
from db.replays import TooManyWaiting
from db.schema import Level
from fuzzer.judge.finding import signature
from fuzzer.tell.inevitable import Chances
from tests.dashboard.site import BUG, SHOWN, Site
from tests.golden import golden

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
    text = own.replayed(PAGE)
    assert f"Inevitable after step {told['inevitable']}</b>, vCPU1 write gfn 13 (#4) to " in text
    assert 'class="share"' in text
    assert "refresh" not in own.get(f"{PAGE}?chances=yes").headers


def test_a_finding_without_a_reproducer_has_no_chances(own: Site) -> None:
    with own.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM reproducers")
    assert own.get(f"/api/v1{PAGE}/chances").status_code == 404
    assert "inevitable" not in own.get(PAGE).text


class Gate(Replayer):
    """A replayer whose children wait until they are let go, and then know nothing."""

    def __init__(self) -> None:
        super().__init__(1, 64, 2)
        self.open = threading.Event()
        self.ran: list[bytes] = []

    def _run(self, job: Job, body: bytes) -> bytes:
        assert job == "chances"
        assert self.open.wait(30)
        self.ran.append(body)
        return msgspec.json.encode(Chances(0, -1, ()))


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()
    gate.close()


def test_only_so_many_may_wait_and_asking_again_costs_nothing(gate: Gate) -> None:
    resampling = Resampling(gate)
    for number in range(WAITING_MAX):
        for _ in range(2):
            assert resampling.ask(str(number).encode(), f"visitor {number % OF_VISITOR_MAX}") is None
    with pytest.raises(TooManyWaiting, match="16 files are to be run already"):
        resampling.ask(b"one more", "another visitor")
    assert resampling.known(b"one more") is None
    gate.open.set()
    assert gate.done("chances", b"15")
    assert len(gate.ran) == WAITING_MAX
    assert resampling.known(b"0") == Chances(0, -1, ())


def test_one_visitor_leaves_room_for_the_others(gate: Gate) -> None:
    resampling = Resampling(gate)
    for number in range(OF_VISITOR_MAX):
        assert resampling.ask(str(number).encode(), "greedy") is None
    with pytest.raises(TooManyWaiting, match="4 findings are being resampled for you"):
        resampling.ask(b"one more", "greedy")
    assert resampling.ask(b"0", "greedy") is None, "it is asked for already"
    assert resampling.ask(b"one more", "modest") is None
    assert resampling.ask(b"one more", "greedy") is None, "it is found out anyway"
    gate.open.set()
    assert gate.done("chances", b"one more")
    assert resampling.ask(b"another", "greedy") is None, "those before are done"


def test_the_api_refuses_who_asks_for_too_much(own: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(Replayer, "_run", lambda *_: str(go_on.wait(60)).encode())
    asked = [f"/api/v1/findings/1/{signature(golden(name).finding)}/chances" for name in SHOWN[: OF_VISITOR_MAX + 1]]
    answers = [own.get(address) for address in asked]
    assert [answer.status_code for answer in answers] == [202] * OF_VISITOR_MAX + [429]
    assert own.get(asked[0]).status_code == 202
    assert own.get(asked[-1], Level.OPERATE).status_code == 202
    page = own.get(f"{asked[-2].removeprefix('/api/v1').removesuffix('/chances')}?chances=yes")
    assert page.headers["refresh"]
    go_on.set()
