# SPDX-License-Identifier: GPL-2.0-only
"""Every address that writes, taken from the application itself: it writes for who may, and for nobody else.

Each is sent what it takes, so that nothing but the visitor's right can keep it from writing.
"""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import pytest
from sqlalchemy import event, select

from db.fleets import FleetPlan, Fleets
from db.merges import Merges
from db.schema import Base, CampaignState, Level
from db.session import transaction
from db.tokens import Tokens
from fuzzer.judge.finding import signature
from fuzzer.reproducer import encode_reproducer
from tests.dashboard.site import BUG, CAMPAIGN, SECRET, Site
from tests.dashboard.test_access import all_paths, csrf_of
from tests.golden import golden

SAFE = {"GET", "HEAD", "OPTIONS"}
BEFORE_SIGNING_IN = {"/login", "/logout"}
"""These write nothing to the database."""


class Write(NamedTuple):
    """A request that an address takes, and who may make it."""

    address: str
    level: Level
    sent: dict[str, Any]


MERGED = signature(golden("aging-goes-unseen").finding)
SAID: dict[str, dict[str, str]] = {
    "comment": {"text": "seen"},
    "state": {"state": "fixed", "why": "by hand"},
    "merge": {"into": signature(golden("collapsible-frozen").finding), "why": "alike"},
    "split": {"why": "two"},
}
"""What is said of a finding; split of the one that is merged."""


def said() -> dict[tuple[str, str], Write]:
    """Of each action, by form and by API."""
    writes: dict[tuple[str, str], Write] = {}
    for action, what in SAID.items():
        for prefix, kind in (("", "data"), ("/api/v1", "json")):
            finding = MERGED if action == "split" else BUG
            write = Write(f"{prefix}/findings/1/{finding}/{action}", Level.OPERATE, {kind: what})
            writes["POST", f"{prefix}/findings/{{campaign}}/{{signature}}/{action}"] = write
    return writes


REPRODUCER = encode_reproducer(golden("bug-219588"))
WRITES: dict[tuple[str, str], Write] = {
    ("POST", "/replays"): Write("/replays", Level.OPERATE, {"files": {"file": REPRODUCER}}),
    ("POST", "/tokens"): Write("/tokens", Level.ADMIN, {"data": {"name": "new", "level": "read"}}),
    ("POST", "/tokens/{token}/revoke"): Write("/tokens/2/revoke", Level.ADMIN, {"data": {}}),
    ("POST", "/campaigns"): Write("/campaigns", Level.OPERATE, {"data": {"programs": "5"}}),
    ("POST", "/campaigns/{campaign}/{action}"): Write("/campaigns/2/pause", Level.OPERATE, {"data": {}}),
    ("POST", "/api/v1/replays"): Write("/api/v1/replays", Level.OPERATE, {"content": REPRODUCER}),
    ("POST", "/api/v1/tokens"): Write("/api/v1/tokens", Level.ADMIN, {"json": {"name": "new", "level": "read"}}),
    ("DELETE", "/api/v1/tokens/{token}"): Write("/api/v1/tokens/2", Level.ADMIN, {}),
    ("POST", "/api/v1/campaigns"): Write("/api/v1/campaigns", Level.OPERATE, {"json": {"programs": 5}}),
    ("POST", "/api/v1/campaigns/{campaign}/{action}"): Write("/api/v1/campaigns/2/stop", Level.OPERATE, {}),
    **said(),
}
"""By method and path, as the application has them."""


@pytest.fixture
def steered(own: Site) -> Site:
    """Campaign 2 belongs to workers; a finding of campaign 1 is merged into another one."""
    Merges(own.engine).merge(MERGED, SAID["merge"]["into"], "somebody", "alike")
    plan = FleetPlan(10, False, None)
    Fleets(own.engine).create(plan, msgspec.structs.replace(CAMPAIGN, budget_programs=10))
    return own


def contents(site: Site) -> dict[str, list[Any]]:
    """Every row of every table."""
    with transaction(site.engine, "read") as connection:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in tables}


def send(site: Site, method: str, write: Write, headers: dict[str, str], **more: Any) -> int:
    sent = write.sent | more
    return site.client.request(method, write.address, headers=headers, follow_redirects=False, **sent).status_code


def test_every_address_that_writes_is_tried(own: Site) -> None:
    app: Any = own.client.app
    paths = {(m, path) for path, methods in all_paths(app.routes) for m in methods - SAFE}
    assert {(m, path) for m, path in paths if path not in BEFORE_SIGNING_IN} == set(WRITES)


def test_without_a_right_nothing_is_written(steered: Site) -> None:
    before = contents(steered)
    lower = {Level.OPERATE: [Level.READ], Level.ADMIN: [Level.READ, Level.OPERATE]}
    for (method, path), write in WRITES.items():
        wrong = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {SECRET}x"}, {"Cookie": "session=x"}]
        for headers in wrong:
            assert send(steered, method, write, headers) in (401, 303), (method, path, headers)
        for level in lower[write.level]:
            assert send(steered, method, write, steered.headers(level)) == 403, (method, path, level)
    assert contents(steered) == before


def test_a_session_without_its_proof_writes_nothing(steered: Site) -> None:
    before = contents(steered)
    steered.sign_in(Level.ADMIN)
    for (method, path), write in WRITES.items():
        for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": csrf_of(steered), "Origin": "http://evil"}):
            assert send(steered, method, write, headers) == 403, (method, path, headers)
    assert contents(steered) == before


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_with_the_right_it_is_written(steered: Site, method: str, path: str) -> None:
    """Else the tests above would pass for requests that nobody could make."""
    before = contents(steered)
    write = WRITES[method, path]
    assert send(steered, method, write, steered.headers(write.level)) < 400
    assert contents(steered) != before


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_revoked_token_writes_nothing(steered: Site, method: str, path: str) -> None:
    tokens = Tokens(steered.engine)
    secret = tokens.create("gone", Level.ADMIN)
    (token,) = [token for token in tokens.all() if token.name == "gone"]
    tokens.revoke(token.id)
    before = contents(steered)
    assert send(steered, method, WRITES[method, path], {"Authorization": f"Bearer {secret}"}) in (401, 303)
    assert contents(steered) == before


def test_the_campaign_of_these_tests_can_be_steered(steered: Site) -> None:
    assert Fleets(steered.engine).status(2).campaign.state is CampaignState.RUNNING


def test_nobody_waits_for_the_database_of_another(steered: Site) -> None:
    """A statement in the thread of the event loop would keep all others waiting, streams and health included."""
    seen, in_loop = [], []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)
        with suppress(RuntimeError):  # there is none in this thread
            asyncio.get_running_loop()
            in_loop.append(statement)

    event.listen(steered.engine, "before_cursor_execute", note)
    for (method, _), write in WRITES.items():
        # What was done already by the form is refused to the API.
        assert send(steered, method, write, steered.headers(write.level)) in (200, 201, 202, 204, 303, 400)
    steered.sign_in(Level.OPERATE)
    for address in ("/", "/findings", "/api/v1/me", "/healthz"):
        assert steered.client.get(address).status_code == 200
    assert any(statement.startswith("INSERT INTO replays") for statement in seen)
    assert in_loop == []
