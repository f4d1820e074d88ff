# SPDX-License-Identifier: GPL-2.0-only
"""Who may do what: every route with no, a wrong and a too low token; sessions, forms, revocation."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from dashboard.access import COOKIE
from db.schema import Level
from db.tokens import Tokens
from tests.dashboard.site import BUG, SECRET, Site, started

OPEN = {"/healthz", "/login", "/api/v1/openapi.json"}
VALUES = {
    "campaign": "1",
    "signature": BUG,
    "form": "story",
    "patch": "age-elides-tlb-flush",
    "receipt": "0" * 32,
    "action": "pause",
    "place": "1",
}


def routes(app: Any) -> list[tuple[str, str]]:
    """Every (method, address) of the pages and the API, parameters filled in."""
    assert isinstance(app, FastAPI)
    found: list[tuple[str, str]] = []
    for path, methods in all_paths(app.routes):
        address = re.sub(r"\{(\w+)\}", lambda match: VALUES.get(match[1], "1"), path)
        found.extend((method, address) for method in sorted(methods - {"HEAD"}))
    return found


def all_paths(routes: Any) -> list[tuple[str, set[str]]]:
    """FastAPI keeps an included router as one route."""
    found: list[tuple[str, set[str]]] = []
    for route in routes:
        if isinstance(route, APIRoute):
            found.append((route.path, set(route.methods or ())))
        elif hasattr(route, "original_router"):
            found.extend(all_paths(route.original_router.routes))
    return found


def test_the_list_of_routes_is_whole(shared: Site) -> None:
    found = routes(shared.client.app)
    assert {("POST", "/api/v1/replays"), ("POST", "/tokens/1/revoke"), ("DELETE", "/api/v1/tokens/1")} <= set(found)
    assert len(found) >= 35


def test_nothing_is_shown_without_a_token(shared: Site) -> None:
    for method, address in routes(shared.client.app):
        if address in OPEN:
            continue
        answer = shared.client.request(method, address, follow_redirects=False)
        sent_to_sign_in = (answer.status_code, answer.headers.get("location")) == (303, "/login")
        assert answer.status_code == 401 or sent_to_sign_in, (method, address)
        assert BUG not in answer.text


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic YTpi", f"Token {SECRET}", "Bearer \xff"])
def test_a_wrong_token_opens_nothing(shared: Site, header: str) -> None:
    for method, address in routes(shared.client.app):
        if address not in OPEN:
            sent = {b"Authorization": header.encode("latin-1")}
            answer = shared.client.request(method, address, headers=sent, follow_redirects=False)
            assert answer.status_code in (303, 401), (method, address)


def test_a_token_that_may_read_writes_nothing(shared: Site) -> None:
    writes = [(m, a) for m, a in routes(shared.client.app) if m != "GET" and a not in OPEN and a != "/logout"]
    assert len(writes) >= 10
    for method, address in writes:
        answer = shared.client.request(method, address, headers=shared.headers(Level.READ))
        assert answer.status_code == 403, (method, address)


def test_only_an_administrator_sees_tokens(shared: Site) -> None:
    for address in ("/tokens", "/api/v1/tokens"):
        assert shared.get(address, Level.OPERATE).status_code == 403
        assert shared.get(address, Level.ADMIN).status_code == 200


def test_a_token_is_stored_as_its_digest_alone(own: Site) -> None:
    made = own.client.post("/api/v1/tokens", json={"name": "ci", "level": "read"}, headers=own.headers(Level.ADMIN))
    secret = made.json()["token"]
    assert secret not in own.get("/api/v1/tokens", Level.ADMIN).text
    with own.engine.connect() as connection:
        assert secret not in str(connection.exec_driver_sql("SELECT * FROM tokens").all())
    assert own.client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).json()["name"] == "ci"


def test_a_revoked_token_ends_its_sessions(own: Site) -> None:
    own.sign_in(Level.READ)
    assert own.client.get("/findings").status_code == 200
    (token,) = [token for token in Tokens(own.engine).all() if token.name == "read token"]
    answer = own.client.delete(f"/api/v1/tokens/{token.id}", headers=own.headers(Level.ADMIN))
    assert answer.status_code == 204
    assert own.client.get("/findings", follow_redirects=False).headers["location"] == "/login"
    assert own.get("/api/v1/me").status_code == 401


class TestSession:
    def test_its_cookie_is_for_this_site_and_no_script(self, own: Site) -> None:
        answer = own.client.post("/login", data={"token": SECRET}, follow_redirects=False)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert SECRET not in cookie

    def test_its_cookie_is_for_https_alone_where_the_page_came_by_https(self, own: Site) -> None:
        answer = own.client.post("https://localhost/login", data={"token": SECRET}, follow_redirects=False)
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "strict-transport-security" in answer.headers

    def test_a_forged_cookie_is_none(self, own: Site) -> None:
        own.sign_in(Level.ADMIN)
        value = own.client.cookies[COOKIE]
        for forged in (value[:-2], value[2:], "", "x.y.z", "W10.aaa.bbb"):
            own.client.cookies.clear()
            own.client.cookies.set(COOKIE, forged)
            assert own.client.get("/", follow_redirects=False).status_code == 303

    def test_another_key_does_not_open_it(self, own: Site) -> None:
        own.sign_in(Level.ADMIN)
        value = own.client.cookies[COOKIE]
        with started(own.engine, "another-" * 5) as other:
            other.cookies.set(COOKIE, value)
            assert other.get("/", follow_redirects=False).status_code == 303

    def test_a_wrong_token_starts_none(self, own: Site) -> None:
        answer = own.client.post("/login", data={"token": "wrong"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert "wrong" not in answer.text

    def test_signing_out_ends_it(self, own: Site) -> None:
        own.sign_in(Level.READ)
        assert own.client.post("/logout", data={"csrf": csrf_of(own)}, follow_redirects=False).status_code == 303
        assert own.client.get("/", follow_redirects=False).headers["location"] == "/login"


def csrf_of(site: Site) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', site.client.get("/").text)
    assert found is not None
    return found[1]


class TestForms:
    def test_one_without_the_sessions_token_is_refused(self, own: Site) -> None:
        own.sign_in(Level.ADMIN)
        for data in ({}, {"csrf": ""}, {"csrf": "0" * 64}):
            answer = own.client.post("/tokens", data={"name": "x", "level": "admin", **data})
            assert answer.status_code == 403
        assert "x" not in [token.name for token in Tokens(own.engine).all()]

    def test_that_of_another_session_is_refused(self, own: Site) -> None:
        own.sign_in(Level.READ)
        foreign = csrf_of(own)
        own.sign_in(Level.ADMIN)
        answer = own.client.post("/tokens", data={"name": "x", "level": "admin", "csrf": foreign})
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
    )
    def test_one_of_another_site_is_refused(self, own: Site, headers: dict[str, str]) -> None:
        own.sign_in(Level.ADMIN)
        data = {"name": "x", "level": "admin", "csrf": csrf_of(own)}
        assert own.client.post("/tokens", data=data, headers=headers).status_code == 403
        assert own.client.post("/login", data={"token": SECRET}, headers=headers).status_code == 403

    @pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}])
    def test_one_of_another_site_is_refused_though_a_proxy_added_a_token(
        self, own: Site, headers: dict[str, str]
    ) -> None:
        sent = own.headers(Level.ADMIN) | headers
        data = {"name": "x", "level": "admin"}
        assert own.client.post("/tokens", data=data, headers=sent).status_code == 403
        assert own.client.post("/api/v1/tokens", json=data, headers=sent).status_code == 403
        assert own.client.delete("/api/v1/tokens/1", headers=sent).status_code == 403
        ours = own.headers(Level.ADMIN) | {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
        assert own.client.post("/tokens", data=data, headers=ours).status_code == 200

    def test_a_session_needs_it_at_the_api_too(self, own: Site) -> None:
        own.sign_in(Level.ADMIN)
        wish = {"name": "x", "level": "read"}
        assert own.client.post("/api/v1/tokens", json=wish).status_code == 403
        answer = own.client.post("/api/v1/tokens", json=wish, headers={"X-CSRF-Token": csrf_of(own)})
        assert answer.status_code == 201

    def test_a_good_one_is_taken(self, own: Site) -> None:
        own.sign_in(Level.ADMIN)
        data = {"name": "ci", "level": "operate", "csrf": csrf_of(own)}
        page = own.client.post("/tokens", data=data, headers={"Origin": "http://localhost"})
        assert "New token, shown this once" in page.text


class TestWithoutTokens:
    def test_everybody_may_read_and_operate_and_every_page_says_so(self, own: Site) -> None:
        with started(own.engine, None) as client:
            page = client.get("/findings")
            assert page.status_code == 200
            assert "Running without tokens" in page.text
            assert client.get("/api/v1/me").json() == {"name": "anyone", "level": "operate"}
            assert client.get("/tokens").status_code == 403

    def test_a_foreign_name_for_this_address_is_refused(self, own: Site) -> None:
        with started(own.engine, None) as client:
            assert client.get("/findings", headers={"Host": "rebound.example"}).status_code == 400

    def test_forms_are_protected_all_the_same(self, own: Site) -> None:
        with started(own.engine, None) as client:
            assert client.post("/replays", files={"file": b"{}"}).status_code == 403
