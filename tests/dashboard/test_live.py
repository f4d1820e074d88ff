# SPDX-License-Identifier: GPL-2.0-only
"""Live progress from a real server: it follows the database, and ends with the campaign, the right, or the server."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dashboard.streams import AT_ONCE_OF_ADDRESS_MAX
from db.schema import CampaignState, Level
from db.session import open_database
from db.store import Store
from db.tokens import Tokens
from fuzzer.finding import BatchResult
from tests.dashboard.server import Server, serving
from tests.dashboard.site import SECRET, fill
from tests.service.waiting import wait_until

CAMPAIGN = "/api/v1/campaigns/1/events"
OVERVIEW = "/api/v1/overview/events"


class Live(NamedTuple):
    """A server, and the store that it shows."""

    server: Server
    store: Store
    tokens: Tokens

    def batch(self, number: int) -> None:
        self.store.record(BatchResult(1, number, number * 10, 10, 1000, 2.0, 200 + number, ()))

    @contextmanager
    def stream(self, address: str, token: str = SECRET) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request("GET", address, headers={"Authorization": f"Bearer {token}"})
        try:
            yield connection.getresponse()
        finally:
            connection.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    fill(Store(engine))
    with serving(tmp_path, MMUFUZZ_PROGRESS_SECONDS="0.05") as server:
        yield Live(server, Store(engine), Tokens(engine))
    engine.dispose()


def events(response: HTTPResponse) -> Iterator[tuple[str, str]]:
    """Name and data of each event, until the stream ends."""
    name, data = "", []
    for line in response:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field in ("data", "data:"):
            data.append(value)
        elif not field and name:
            yield name, "\n".join(data)
            name, data = "", []


def progress(response: HTTPResponse, programs: int) -> Any:
    """The first event that tells of so many programs."""
    for name, data in events(response):
        assert name == "progress"
        told = json.loads(data)
        if told["health"]["programs"] == programs:
            return told
    raise AssertionError("the stream ended")


def test_it_follows_a_campaign_to_its_end(live: Live) -> None:
    with live.stream(CAMPAIGN) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers
        told = progress(response, 80)
        assert {number["name"]: number["findings"] for number in told["verdicts"]}["documented"] == 7
        for number in range(8, 11):
            live.batch(number)
            assert progress(response, (number + 1) * 10)["health"]["coverage"] == 200 + number
        live.store.end_campaign(1, CampaignState.FINISHED)
        rest = list(events(response))
    assert [name for name, _ in rest][-2:] == ["progress", "end"]
    assert json.loads(rest[-2][1])["health"]["state"] == "finished"


def test_a_page_is_sent_the_part_that_changed(live: Live) -> None:
    with live.stream("/campaigns/1/events") as response:
        first = next(events(response))[1]
        assert 'data-state="running" data-findings="8"' in first
        live.store.end_campaign(1, CampaignState.STOPPED)
        rest = list(events(response))
    assert 'data-state="stopped"' in rest[-2][1]
    assert "<script" not in first
    with live.stream("/events") as response:
        assert 'href="/campaigns/1"' in next(events(response))[1]


def test_the_overview_goes_on(live: Live) -> None:
    with live.stream(OVERVIEW) as response:
        assert json.loads(next(events(response))[1])["running"] == 1
        live.store.end_campaign(1, CampaignState.FINISHED)
        told = next(json.loads(data) for _, data in events(response) if json.loads(data)["running"] == 0)
    assert told["progress"]["health"]["campaign"] == 1


def test_a_campaign_that_has_ended_is_told_once(live: Live) -> None:
    live.store.end_campaign(1, CampaignState.FINISHED)
    with live.stream(CAMPAIGN) as response:
        assert [name for name, _ in events(response)] == ["progress", "end"]


def test_a_token_that_is_revoked_hears_no_more(live: Live) -> None:
    secret = live.tokens.create("guest", Level.READ)
    with live.stream(CAMPAIGN, secret) as response:
        assert next(events(response))[0] == "progress"
        (token,) = [token for token in live.tokens.all() if token.name == "guest"]
        live.tokens.revoke(token.id)
        assert list(events(response))[-1][0] == "end"


@pytest.mark.parametrize(
    ("address", "token", "status"),
    [
        (CAMPAIGN, "wrong", 401),
        ("/api/v1/campaigns/7/events", SECRET, 404),
        ("/campaigns/7/events", SECRET, 404),
        ("/api/v1/campaigns/x/events", SECRET, 422),
    ],
)
def test_what_cannot_be_watched(live: Live, address: str, token: str, status: int) -> None:
    with live.stream(address, token) as response:
        assert response.status == status


def test_one_address_watches_so_many_and_who_leaves_makes_room(live: Live) -> None:
    with ExitStack() as watching:
        for _ in range(AT_ONCE_OF_ADDRESS_MAX):
            assert watching.enter_context(live.stream(CAMPAIGN)).status == 200
        with live.stream(CAMPAIGN) as refused:
            assert refused.status == 429
            assert json.loads(refused.read()) == {"error": "too many pages are watching already; close some"}

    def admitted() -> bool:
        with live.stream(CAMPAIGN) as response:
            return response.status == 200

    wait_until(admitted, "those who left make room", 30)


def test_a_server_that_is_to_end_does_not_wait_for_its_listeners(live: Live) -> None:
    with live.stream(CAMPAIGN) as first, live.stream("/events") as second:
        assert next(events(first))[0] == next(events(second))[0] == "progress"
        live.server.process.terminate()
        # It ends without `end`, so that a browser comes back to the server's successor.
        assert "end" not in [name for response in (first, second) for name, _ in events(response)]
        live.server.process.wait(20)
    assert any("Finished server process" in line for line in live.server.said)
    assert not any("Traceback" in line for line in live.server.said)


def test_who_changed_what_is_in_the_log(live: Live) -> None:
    connection = HTTPConnection("127.0.0.1", live.server.port, timeout=60)
    connection.request("POST", "/api/v1/campaigns/1/stop", headers={"Authorization": f"Bearer {SECRET}"})
    assert connection.getresponse().status == 400
    connection.close()
    said = "administrator (admin): POST '/api/v1/campaigns/1/stop'"
    wait_until(lambda: any(said in line for line in live.server.said), "it is in the log", 20)
