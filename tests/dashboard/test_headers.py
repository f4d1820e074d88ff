# SPDX-License-Identifier: GPL-2.0-only
"""Strict headers on every answer, and the vendored files they let in."""

import hashlib

import pytest

from dashboard.app import STATIC
from tests.dashboard.site import Site

VENDORED = STATIC / "vendor"


@pytest.mark.parametrize("address", ["/", "/findings", "/nosuch", "/static/style.css", "/api/v1/me", "/healthz"])
def test_strict_headers(shared: Site, address: str) -> None:
    for answer in (shared.get(address), shared.client.get(address, follow_redirects=False)):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_pages_are_not_kept_by_anybody(shared: Site) -> None:
    assert shared.get("/findings").headers["cache-control"] == "no-store"


def test_what_is_the_same_for_everybody_is_sent_once(shared: Site) -> None:
    address = "/static/vendor/htmx/htmx.min.js"
    first = shared.get(address)
    assert first.headers["cache-control"] == "no-cache"
    again = shared.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


@pytest.mark.parametrize(
    "address", [f"/static/{place}" for place in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd")]
)
def test_static_files_are_those_of_the_folder(shared: Site, address: str) -> None:
    assert shared.get(address).status_code == 404


def test_vendored_files_are_the_released_ones() -> None:
    listed = [line.split() for line in (VENDORED / "VERSIONS").read_text().splitlines() if not line.startswith("#")]
    for name, _package, _version, _licence, digest in listed:
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest, name
    there = {file.relative_to(VENDORED).as_posix() for file in VENDORED.rglob("*") if file.suffix in (".js", ".css")}
    assert there == {name for name, *_ in listed}
    assert all((VENDORED / name).with_name("LICENSE").exists() for name, *_ in listed)
