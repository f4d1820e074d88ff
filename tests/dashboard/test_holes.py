# SPDX-License-Identifier: GPL-2.0-only
"""Known holes, wherever findings are listed, counted or taken away: by name, apart from what nobody knows."""

import csv
import io
import zipfile
from collections.abc import Iterator
from html import unescape

import pytest

from db.schema import Level
from db.store import Store
from fuzzer.judge.finding import BatchResult, FoundFinding, signature
from fuzzer.known_holes import HOLES
from fuzzer.reproducer import encode_reproducer
from tests.dashboard.site import CAMPAIGN, NOW, Site, site
from tests.db.stored import NAME, VIOLATION
from tests.golden import golden
from tests.service.waiting import wait_until

HOLE = "e500-writable-null"
KNOWN = golden(HOLE)
LINK = f'<a href="/holes#{HOLE}">{HOLE}</a>'


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Campaign 2 has a regression that is known and one that is not."""
    with site(tmp_path_factory.mktemp("holed")) as holed:
        store = Store(holed.engine, lambda: NOW)
        shown = (
            FoundFinding(KNOWN.finding, 4, 100, encode_reproducer(KNOWN)),
            FoundFinding(VIOLATION, 1, 101, None),
        )
        store.record(BatchResult(store.create_campaign(CAMPAIGN), 0, 100, 10, 1000, 2.0, 100, shown))
        yield holed


def rows(site: Site, query: str) -> list[tuple[str, str]]:
    return [(row["verdict"], row["known"]) for row in site.get(f"/api/v1/findings?{query}").json()["rows"]]


def test_the_list_begins_with_what_nobody_knows(holed: Site) -> None:
    listed = rows(holed, "")
    assert listed[0] == ("regression", "")
    assert listed.index(("regression", HOLE)) == 1, "above what a commit mends or announces"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("verdict=regression&known=no", [("regression", "")]),
        ("verdict=regression&known=yes", [("regression", HOLE)]),
        (f"known={HOLE}", [("regression", HOLE)]),
        ("verdict=regression&known=", [("regression", ""), ("regression", HOLE)]),
        ("known=nosuch", []),
    ],
)
def test_filters(holed: Site, query: str, expected: list[tuple[str, str]]) -> None:
    assert rows(holed, query) == expected


def test_the_page_of_the_list_links_to_where_it_is_written_up(holed: Site) -> None:
    assert holed.get("/findings").text.count(LINK) == 1
    chosen = holed.get(f"/findings?known={HOLE}").text
    assert f'<option value="{HOLE}" selected>' in chosen
    assert "1 finding ·" in chosen
    assert '<option value="nosuch" selected>' in holed.get("/findings?known=nosuch").text
    assert holed.get("/findings?known=no").text.count(LINK) == 0
    assert f'<tr id="{HOLE}">' in holed.get("/holes").text


def test_nobody_is_asked_for_holes_where_there_are_none(shared: Site) -> None:
    assert 'name="known"' not in shared.get("/findings").text


@pytest.mark.parametrize(("address", "query"), [("/", ""), ("/campaigns/2", "campaign=2&")])
def test_counts_tell_what_is_known_apart(holed: Site, address: str, query: str) -> None:
    text = unescape(holed.get(address).text)
    assert f'<a href="/findings?{query}verdict=regression&known=no">1</a>' in text
    assert f'<a href="/findings?{query}verdict=regression&known=yes">1 known</a>' in text
    assert LINK in text, "beside the finding, among the most severe"


def test_counts_of_the_api(holed: Site) -> None:
    regressions = {"name": "regression", "findings": 2, "known": 1}
    assert holed.get("/api/v1/overview").json()["verdicts"][0] == regressions
    assert holed.get("/api/v1/campaigns/2/progress").json()["verdicts"][0] == regressions
    totals = holed.get("/api/v1/campaigns/2").json()["totals"]["verdicts"][-1]
    assert totals == {"verdict": "regression", "findings": 2, "count": 5, "known": 1}


def test_the_finding_itself(holed: Site) -> None:
    address = f"findings/2/{signature(KNOWN.finding)}"
    answer = holed.get(f"/api/v1/{address}").json()
    assert (answer["known"], answer["finding"]["known"]) == (HOLE, HOLE)
    assert f"A known hole, {LINK}" in holed.get(f"/{address}").text
    assert holed.get(f"/api/v1/findings/2/{NAME}").json()["known"] == ""


def test_an_uploaded_story(holed: Site) -> None:
    headers = holed.headers(Level.OPERATE) | {"Content-Type": "application/json"}
    answer = holed.client.post("/api/v1/replays", content=encode_reproducer(KNOWN), headers=headers)
    place = answer.headers["location"]
    wait_until(lambda: holed.get(place).json()["state"] != "waiting", "it is replayed", 60)
    assert f"A known hole, {LINK}" in holed.get(place.removeprefix("/api/v1")).text
    assert holed.get(f"{place}/trace").json()["known"] == HOLE


def test_files_to_take_away(holed: Site) -> None:
    lines = list(csv.DictReader(io.StringIO(holed.get("/api/v1/campaigns/2/findings.csv").text)))
    assert [line["known"] for line in lines] == ["", HOLE]
    archive = zipfile.ZipFile(io.BytesIO(holed.get("/api/v1/campaigns/2/findings.zip").content))
    assert b"2 in all, 1 of them with a reproducer, 1 of them known holes" in archive.read("README")


def test_the_list_of_holes(holed: Site) -> None:
    listed = {hole["id"]: hole["findings"] for hole in holed.get("/api/v1/holes").json()["holes"]}
    assert listed == dict.fromkeys(HOLES, 0) | {HOLE: 1}
