# SPDX-License-Identifier: GPL-2.0-only
"""Rates and sizes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from starlette.types import Message, Receive, Scope, Send

from dashboard.limits import BODY_BYTES_MAX, DEAR_AT_ONCE, UPLOAD_BYTES_MAX, Buckets, Limits
from db.schema import Level
from tests.dashboard.site import SECRET, Site, site


def test_a_bucket_empties_and_fills() -> None:
    now = [0.0]
    buckets = Buckets(2, 0.5, lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 2.0]
    assert buckets.take("b") == 0
    now[0] = 2.0
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    now[0] = 1e6
    assert [buckets.take("a") > 0 for _ in range(3)] == [False, False, True]


def test_it_remembers_only_so_many() -> None:
    buckets = Buckets(1, 1, lambda: 0.0)
    for number in range(10_001):
        buckets.take(str(number))
    assert buckets.take("10000") > 0
    assert buckets.take("0") == 0


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    with site(tmp_path, requests_at_once=3, requests_per_second=1) as small:
        answers = [small.client.get("/healthz") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "2"
    assert "content-security-policy" in answers[-1].headers


def test_tokens_cannot_be_guessed_in_a_hurry(tmp_path: Path) -> None:
    with site(tmp_path, requests_at_once=100) as own:
        answers = [own.client.post("/login", data={"token": f"guess {n}"}) for n in range(DEAR_AT_ONCE + 1)]
        assert [answer.status_code for answer in answers] == [401] * DEAR_AT_ONCE + [429]
        assert own.client.post("/login", data={"token": SECRET}).status_code == 429
        assert own.get("/findings").status_code == 200


def test_an_upload_of_a_hundred_megabytes(own: Site, caplog: pytest.LogCaptureFixture) -> None:
    headers = own.headers(Level.OPERATE)
    answer = own.client.post("/api/v1/replays", content=b" " * (100 << 20), headers=headers)
    assert (answer.status_code, answer.text) == (413, f"at most {UPLOAD_BYTES_MAX} bytes\n")
    assert [record.getMessage() for record in caplog.records if record.name == "dashboard.limits"] == [
        f"refused: a body of more than {UPLOAD_BYTES_MAX} bytes, or not all of it, for '/api/v1/replays'"
    ]
    assert own.get("/findings").status_code == 200


def test_a_body_is_limited_whatever_its_length_says(own: Site) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 1000 + 1):
            yield b" " * 1000

    headers = own.headers(Level.ADMIN) | {"Content-Type": "application/json"}
    assert own.client.post("/api/v1/tokens", content=chunks(), headers=headers).status_code == 413
    assert own.client.post("/api/v1/tokens", content=b"x" * (BODY_BYTES_MAX + 1), headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("last", "taken"),
    [
        ({"type": "http.request", "body": b"fixed by", "more_body": False}, [b"text=not fixed by"]),
        ({"type": "http.disconnect"}, []),
    ],
)
def test_half_a_request_is_none(last: Message, taken: list[bytes]) -> None:
    """Else a comment would stand there that nobody wrote, because a connection broke."""
    came = iter([{"type": "http.request", "body": b"text=not ", "more_body": True}, last])
    bodies: list[bytes] = []

    async def receive() -> Message:
        return next(came)

    async def send(message: Message) -> None:
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append((await receive())["body"])

    scope = {"type": "http", "method": "POST", "path": "/", "client": ("192.0.2.1", 1), "headers": []}
    # In a thread of its own: Playwright leaves a running event loop in that of the tests.
    with start_blocking_portal() as portal:
        portal.call(Limits(app, 1, 1.0, lambda: 0.0), scope, receive, send)
    assert bodies == taken
