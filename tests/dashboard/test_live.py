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
from fuzzer.judge.finding import BatchResult
from tests.dashboard.server import Server, serving
from tests.dashboard.site import CAMPAIGN, SECRET, fill
from tests.service.waiting import wait_until


class Live(NamedTuple):
    """A server, and the store that it shows."""

    server: Server
    store: Store
    tokens: Tokens

    def campaign(self) -> int:
        """One that runs and has a batch."""
        campaign = self.store.create_campaign(CAMPAIGN)
        self.batch(campaign, 0)
        return campaign

    def batch(self, campaign: int, number: int) -> None:
        self.store.record(BatchResult(campaign, number, number * 10, 10, 1000, 2.0, 200 + number, ()))

    @contextmanager
    def stream(self, address: str, token: str = SECRET) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request("GET", address, headers={"Authorization": f"Bearer {token}"})
        try:
            yield connection.getresponse()
        finally:
            connection.close()


@contextmanager
def lively(folder: Path) -> Iterator[Live]:
    engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
    fill(Store(engine))
    with serving(folder, MMUFUZZ_PROGRESS_SECONDS="0.05") as server:
        yield Live(server, Store(engine), Tokens(engine))
    engine.dispose()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Campaign 1 runs on and on."""
    with lively(tmp_path_factory.mktemp("live")) as live:
        yield live


def of(campaign: int) -> str:
    return f"/api/v1/campaigns/{campaign}/events"


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
    campaign = live.campaign()
    with live.stream(of(campaign)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers
        for number in range(1, 4):
            live.batch(campaign, number)
            assert progress(response, (number + 1) * 10)["health"]["coverage"] == 200 + number
        live.store.end_campaign(campaign, CampaignState.FINISHED)
        rest = list(events(response))
    assert [name for name, _ in rest][-2:] == ["progress", "end"]
    assert json.loads(rest[-2][1])["health"]["state"] == "finished"


def test_it_tells_what_was_found(live: Live) -> None:
    with live.stream(of(1)) as response:
        told = progress(response, 80)
    assert {number["name"]: number["findings"] for number in told["verdicts"]}["documented"] == 7


def test_a_page_is_sent_the_part_that_changed(live: Live) -> None:
    campaign = live.campaign()
    with live.stream(f"/campaigns/{campaign}/events") as response:
        first = next(events(response))[1]
        assert 'data-state="running" data-findings="0"' in first
        live.store.end_campaign(campaign, CampaignState.STOPPED)
        rest = list(events(response))
    assert 'data-state="stopped"' in rest[-2][1]
    assert "<script" not in first
    with live.stream("/events") as response:
        assert 'href="/campaigns/1"' in next(events(response))[1]


def test_the_overview_goes_on(live: Live) -> None:
    campaign = live.campaign()
    with live.stream("/api/v1/overview/events") as response:
        shown = [json.loads(next(events(response))[1])["progress"]["health"]["campaign"]]
        live.store.end_campaign(campaign, CampaignState.FINISHED)
        shown.append(next(told for told in overviews(response) if told != campaign))
    assert shown == [campaign, 1]


def overviews(response: HTTPResponse) -> Iterator[int]:
    """The campaigns that are shown, one event after the other."""
    for _, data in events(response):
        yield json.loads(data)["progress"]["health"]["campaign"]


def test_a_campaign_that_has_ended_is_told_once(live: Live) -> None:
    campaign = live.campaign()
    live.store.end_campaign(campaign, CampaignState.FINISHED)
    with live.stream(of(campaign)) as response:
        assert [name for name, _ in events(response)] == ["progress", "end"]


def test_a_token_that_is_revoked_hears_no_more(live: Live) -> None:
    secret = live.tokens.create("guest", Level.READ)
    with live.stream(of(1), secret) as response:
        assert next(events(response))[0] == "progress"
        (token,) = [token for token in live.tokens.all() if token.name == "guest"]
        live.tokens.revoke(token.id)
        assert list(events(response))[-1][0] == "end"


@pytest.mark.parametrize(
    ("address", "token", "status"),
    [
        (of(1), "wrong", 401),
        (of(77), SECRET, 404),
        ("/campaigns/77/events", SECRET, 404),
        ("/api/v1/campaigns/x/events", SECRET, 422),
    ],
)
def test_what_cannot_be_watched(live: Live, address: str, token: str, status: int) -> None:
    with live.stream(address, token) as response:
        assert response.status == status


def test_one_address_watches_so_many_and_who_leaves_makes_room(live: Live) -> None:
    with ExitStack() as watching:
        for _ in range(AT_ONCE_OF_ADDRESS_MAX):
            wait_until(lambda: watching.enter_context(live.stream(of(1))).status == 200, "there is room", 30)
        with live.stream(of(1)) as refused:
            assert refused.status == 429
            assert json.loads(refused.read()) == {"error": "too many pages are watching already; close some"}

    def admitted() -> bool:
        with live.stream(of(1)) as response:
            return response.status == 200

    wait_until(admitted, "those who left make room", 30)


def test_a_server_that_is_to_end_does_not_wait_for_its_listeners(tmp_path: Path) -> None:
    with lively(tmp_path) as live, live.stream(of(1)) as first, live.stream("/events") as second:
        assert next(events(first))[0] == next(events(second))[0] == "progress"
        live.server.process.terminate()
        # It ends without `end`, so that a browser comes back to the server's successor.
        assert "end" not in [name for response in (first, second) for name, _ in events(response)]
        live.server.process.wait(20)
    # Left the block: its last words were read.
    assert any("Finished server process" in line for line in live.server.said)
    assert not any("Traceback" in line for line in live.server.said)


def test_who_changed_what_is_in_the_log(live: Live) -> None:
    connection = HTTPConnection("127.0.0.1", live.server.port, timeout=60)
    connection.request("POST", "/api/v1/campaigns/1/stop", headers={"Authorization": f"Bearer {SECRET}"})
    assert connection.getresponse().status == 400
    connection.close()
    said = "administrator (admin): POST '/api/v1/campaigns/1/stop'"
    wait_until(lambda: any(said in line for line in live.server.said), "it is in the log", 20)
