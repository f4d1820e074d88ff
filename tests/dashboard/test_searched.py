# SPDX-License-Identifier: GPL-2.0-only
"""A bare program is taken, run under many schedules and reported on; one that cannot be run is refused at once."""

import re
import time
from typing import Any

import msgspec
import pytest

from db.schema import Level
from fuzzer.one_program import Searched
from fuzzer.program.program import Program
from fuzzer.reproducer import decode_reproducer
from fuzzer.tell.export.forms import FORMS
from tests.dashboard.site import Site
from tests.fuzzer.test_one_program import BUG, HARMLESS, SILENT


def upload(site: Site, body: bytes) -> Any:
    headers = site.headers(Level.OPERATE) | {"Content-Type": "application/json"}
    return site.client.post("/api/v1/replays", content=body, headers=headers)


def finished(site: Site, program: Program) -> Any:
    answer = upload(site, program.encode())
    assert answer.status_code == 202
    assert answer.json()["kind"] == "program"
    deadline = time.monotonic() + 120
    while True:
        row = site.get(answer.headers["location"]).json()
        if row["state"] != "waiting":
            return row
        assert time.monotonic() < deadline


def test_a_program_gets_a_receipt_and_a_report(own: Site) -> None:
    row = finished(own, BUG.program)
    assert (row["state"], row["error"]) == ("done", None)
    report = msgspec.json.decode(own.get(f"/api/v1/replays/{row['id']}/report").content, type=Searched)
    assert report.program == BUG.program
    places = [n for n, one in enumerate(report.shown, 1) if one.finding.what == "stale-writable-mmuw"]
    assert places
    assert own.get(f"/api/v1/replays/{row['id']}/trace").status_code == 404
    base = f"/api/v1/replays/{row['id']}/findings/{places[0]}"
    assert own.get(f"{base}/trace").json()["recheck"]["finding_shows"] is True
    for form in FORMS:
        answer = own.get(f"{base}/exports/{form}")
        assert answer.status_code == 200
        assert "attachment" in answer.headers["content-disposition"]
    assert decode_reproducer(own.get(f"{base}/exports/reproducer").content) == report.shown[places[0] - 1].reproducer
    page = own.get(f"/replays/{row['id']}").text
    assert f"{len(report.shown)} finding" in page
    address = f"/replays/{row['id']}/findings/{places[0]}"
    assert f'href="{address}"' in page
    assert 'id="picture"' in own.replayed(address)
    for place in ("0", "10000", "x"):
        assert own.get(f"/api/v1/replays/{row['id']}/findings/{place}/trace").status_code in (404, 422)


def test_a_program_that_shows_nothing_gets_a_report_that_says_so(own: Site) -> None:
    row = finished(own, SILENT)
    report = own.get(f"/api/v1/replays/{row['id']}/report").json()
    assert (report["shown"], report["unjudged"]) == ([], 0)
    page = own.get(f"/replays/{row['id']}").text
    assert f"Nothing found in {report['schedules']} schedules" in page
    assert own.get(f"/replays/{row['id']}/findings/1").status_code == 404


def test_the_form_of_the_page_takes_it_too(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', own.client.get("/replays").text)
    assert found is not None
    files = {"file": ("mine.json", HARMLESS.encode(), "application/json")}
    page = own.client.post("/replays", data={"csrf": found[1]}, files=files)
    assert page.status_code == 200
    assert "<dd>program</dd>" in page.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace(b'"gfn":13', b'"gfn":99999'), "gfn 99999 is out of range"),
        (lambda text: text.replace(b'"op":"read"', b'"op":"nosuch"'), "nosuch"),
        (lambda text: text.replace(b'"uid":1', b'"uid":-1'), "uid -1"),
        (lambda text: text.replace(b'"kind":"vcpu"', b'"kind":"mm"'), "no operation of a mm"),
        (lambda text: text.replace(b'"actors":[', b'"actors":[7,'), "Expected"),
        (lambda text: b'{"config": 1, "actors": []}', "config"),
    ],
)
def test_one_that_cannot_be_run_is_refused_in_one_line(own: Site, change: Any, said: str) -> None:
    answer = upload(own, change(HARMLESS.encode()))
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
