# SPDX-License-Identifier: GPL-2.0-only
"""The JSON API: pages of a list, ETags, uploads, and errors that are one line of JSON."""

import time
from typing import Any

import msgspec
import pytest

from db.schema import Level
from db.store import Store
from fuzzer.reproducer import decode_reproducer, encode_reproducer
from fuzzer.tell.export.forms import FORMS
from reference_mmu.changelog.patches import PATCHES
from tests.dashboard.site import BUG, CAMPAIGN, SHOWN, Site
from tests.golden import golden


def test_openapi_describes_every_route_and_names_only_what_it_has(shared: Site) -> None:
    described = shared.client.get("/api/v1/openapi.json").json()
    assert len(described["paths"]) >= 18
    schemas = described["components"]["schemas"]
    text = msgspec.json.encode(described).decode()
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= set(schemas)
    assert {"FindingsPage", "FindingAnswer", "ReplayDocument", "ReplayRow"} <= set(schemas)


def test_the_pages_of_a_list_hold_every_finding_once(shared: Site) -> None:
    for sort in ("severity", "last-seen", "first-seen", "count", "what"):
        seen: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            page = shared.get(f"/api/v1/findings?sort={sort}&limit=3&cursor={cursor}").json()
            assert page["total"] == len(SHOWN)
            seen.extend(row["id"] for row in page["rows"])
            cursor = page["cursor"]
        assert sorted(seen) == list(range(1, len(SHOWN) + 1)), sort


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("verdict=fixed", 1),
        ("verdict=documented", 7),
        ("patch=age-elides-tlb-flush", 2),
        ("patch=age-elides", 0),
        ("what=fewer-flushes", 1),
        ("text=MMU_WRITABLE", 1),
        ("text=mmu_writable", 1),
        ("text=%25", 0),
        ("campaign=1&days=1", 8),
        ("campaign=2", 0),
        ("state=open&verdict=&patch=", 8),
    ],
)
def test_filters(shared: Site, query: str, number: int) -> None:
    page = shared.get(f"/api/v1/findings?{query}").json()
    assert page["total"] == len(page["rows"]) == number


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/v1/findings?cursor=bm90", 400),
        ("/api/v1/findings?cursor=%C3%A4", 400),
        ("/api/v1/findings?cursor=WzEsMl0", 400),
        ("/api/v1/findings?limit=0", 422),
        ("/api/v1/findings?limit=100000", 422),
        ("/api/v1/findings?sort=nosuch", 422),
        ("/api/v1/findings?days=-1", 422),
        ("/api/v1/findings?days=nan", 422),
        ("/api/v1/campaigns/7", 404),
        ("/api/v1/campaigns/99999999999999999999", 422),
        ("/api/v1/campaigns/x", 422),
        ("/api/v1/findings/1/nosuch", 404),
        ("/api/v1/findings/1/..%2F..%2Fetc%2Fpasswd", 404),
        (f"/api/v1/findings/1/{BUG}/exports/nosuch", 404),
        ("/api/v1/patches/nosuch", 404),
        ("/api/v1/replays/" + "0" * 32, 404),
        ("/api/v1/nosuch", 404),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(shared: Site, address: str, status: int) -> None:
    answer = shared.get(address)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_what_has_not_changed_is_not_sent_again(shared: Site) -> None:
    for address in ("/api/v1/findings", f"/api/v1/findings/1/{BUG}", "/api/v1/patches", "/api/v1/campaigns/1"):
        first = shared.get(address)
        again = shared.get(address, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert shared.get(address, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_finding_says_why(shared: Site) -> None:
    answer = shared.get(f"/api/v1/findings/1/{BUG}").json()
    (reason,) = answer["reasons"]
    assert [(o["patch"], o["stance"]) for o in reason["opinions"]] == [("tdp-fault-warn-flush-mmuw", "claims")]
    assert answer["exports"] == list(FORMS)


def test_names_that_were_found(shared: Site) -> None:
    names = shared.get("/api/v1/names").json()["names"]
    assert {"name": "stale-writable-mmuw", "findings": 1, "known": 0} in names
    assert sum(name["findings"] for name in names) == len(SHOWN)


def test_a_campaign_adds_up(shared: Site) -> None:
    answer = shared.get("/api/v1/campaigns/1").json()
    assert (answer["totals"]["programs"], answer["health"]["coverage"]) == (80, 107)
    assert len(shared.get("/api/v1/campaigns/1/growth").json()["points"]) == 8


def test_campaigns_come_in_pages(own: Site) -> None:
    for number in range(4):
        Store(own.engine).create_campaign(msgspec.structs.replace(CAMPAIGN, name=f"campaign {number}"))
    seen: list[int] = []
    before: int | None = 2**40
    while before is not None:
        page = own.get(f"/api/v1/campaigns?limit=2&before={before}").json()
        seen.extend(row["id"] for row in page["campaigns"])
        before = page["before"]
    assert seen == [5, 4, 3, 2, 1]
    assert own.get("/campaigns?before=3").text.count('<a href="/campaigns/') == 2


def test_the_catalogue_counts_findings(shared: Site) -> None:
    commits = shared.get("/api/v1/patches").json()["commits"]
    numbers = {commit["entry"]["patch"]["id"]: commit["findings"] for commit in commits}
    assert len(numbers) == len(PATCHES) == 92
    assert numbers["age-elides-tlb-flush"] == 2
    assert "-" in shared.get("/api/v1/patches/age-elides-tlb-flush").json()["diff"]


class TestUpload:
    def upload(self, site: Site, body: bytes) -> Any:
        headers = site.headers(Level.OPERATE) | {"Content-Type": "application/json"}
        return site.client.post("/api/v1/replays", content=body, headers=headers)

    def finished(self, site: Site, body: bytes) -> Any:
        answer = self.upload(site, body)
        assert answer.status_code == 202
        place = answer.headers["location"]
        deadline = time.monotonic() + 60
        while True:
            row = site.get(place).json()
            if row["state"] != "waiting":
                return row
            assert time.monotonic() < deadline

    def test_a_reproducer_is_replayed(self, own: Site) -> None:
        row = self.finished(own, encode_reproducer(golden("bug-219588")))
        assert (row["state"], row["error"], row["uploaded_by"]) == ("done", None, "operate token")
        trace = own.get(f"/api/v1/replays/{row['id']}/trace").json()
        assert trace["recheck"]["finding_shows"] is True

    def test_the_same_file_gets_the_same_receipt(self, own: Site) -> None:
        body = encode_reproducer(golden("bug-219588"))
        assert self.finished(own, body)["id"] == self.upload(own, body).json()["id"]

    def test_a_finding_that_is_gone_is_reported_too(self, own: Site) -> None:
        row = self.finished(own, encode_reproducer(msgspec.structs.replace(golden("bug-219588"), switches=())))
        trace = own.get(f"/api/v1/replays/{row['id']}/trace").json()
        assert trace["recheck"]["finding_shows"] is False

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"{}", "not a reproducer"),
            (b"\xff\x00", "not a reproducer"),
            (b"[" * 50_000, "not a reproducer"),
            (b'{"format": 99}', "format 99"),
        ],
    )
    def test_what_is_no_reproducer_fails_in_one_line(self, own: Site, body: bytes, said: str) -> None:
        row = self.finished(own, body)
        assert row["state"] == "failed"
        assert said in row["error"]
        assert "\n" not in row["error"]
        assert own.get(f"/api/v1/replays/{row['id']}/trace").status_code == 404

    def test_a_change_of_the_model_does_not_run(self, own: Site) -> None:
        bad = msgspec.structs.replace(
            golden("bug-219588"), format=2, diff="--- a/reference_mmu/x86/tdp_mmu/zap.py\n+++ b\n"
        )
        row = self.finished(own, encode_reproducer(bad))
        assert "brings a change of the model" in row["error"]

    def test_one_that_is_too_large_is_refused(self, own: Site) -> None:
        assert self.upload(own, b" " * (2 << 20)).status_code == 413


class TestTokens:
    @pytest.mark.parametrize(
        ("body", "status"),
        [(b"", 400), (b"{}", 400), (b'{"name": "", "level": "read"}', 400), (b'{"name":"a","level":"root"}', 400)],
    )
    def test_a_wish_that_makes_no_sense(self, own: Site, body: bytes, status: int) -> None:
        headers = own.headers(Level.ADMIN) | {"Content-Type": "application/json"}
        assert own.client.post("/api/v1/tokens", content=body, headers=headers).status_code == status

    def test_a_name_is_given_once(self, own: Site) -> None:
        wish = {"name": "ci", "level": "read"}
        answers = [own.client.post("/api/v1/tokens", json=wish, headers=own.headers(Level.ADMIN)) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 400]


def test_exports_of_the_api_are_the_reproducer(shared: Site) -> None:
    answer = shared.get(f"/api/v1/findings/1/{BUG}/exports/reproducer")
    assert decode_reproducer(answer.content) == golden("bug-219588")
    assert answer.headers["content-disposition"] == f'attachment; filename="{BUG.replace(":", "-")}.json"'


def test_a_database_that_is_away_is_no_fault_of_the_question(own: Site) -> None:
    with own.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE occurrences")
    answer = own.get(f"/api/v1/findings/1/{BUG}")
    assert answer.status_code == 503
    assert "no such table" in answer.json()["error"]
