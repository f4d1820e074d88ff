# SPDX-License-Identifier: GPL-2.0-only
"""What people say about findings: the same by form and by API, told on the page, refused where it makes no sense."""

import re
from html import unescape
from typing import Any

import pytest

from db.history import Histories
from db.merges import Merges
from db.rechecks import Rechecks, Seen
from db.schema import FindingState, Level
from fuzzer.judge.finding import signature
from tests.dashboard.site import BUG, Site
from tests.golden import golden

HOSTILE = """</li><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} ' OR 1=1 -- " ‮"""
PAGE = f"/findings/1/{BUG}"
OTHER = signature(golden("aging-goes-unseen").finding)


def say(site: Site, action: str, **said: str) -> Any:
    address = f"/api/v1{PAGE}/{action}"
    return site.client.post(address, json=said, headers=site.headers(Level.OPERATE))


def submit(site: Site, action: str, **said: str) -> Any:
    """As the form of the page does."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', site.client.get(PAGE).text)
    assert found is not None
    return site.client.post(f"{PAGE}/{action}", data={"csrf": found[1], **said}, follow_redirects=False)


def test_a_comment_by_the_api_stands_on_the_page(own: Site) -> None:
    answer = say(own, "comment", text="posted to the list")
    (row,) = answer.json()["history"]
    assert (row["who"], row["event"], row["why"]) == ("operate token", "comment", "posted to the list")
    page = own.get(PAGE).text
    assert "posted to the list" in page
    assert "history and 1 comment<" in page
    assert own.get(f"/api/v1{PAGE}/history").json() == answer.json()


def test_a_comment_by_the_form_is_the_same(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    answer = submit(own, "comment", text="seen on hardware")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}#history")
    assert [row.why for row in Histories(own.engine).of(BUG)] == ["seen on hardware"]


@pytest.mark.parametrize("text", [HOSTILE.replace("‮", ""), "=cmd|' /C calc'!A0", "a" * 4096, "\N{PILE OF POO} ä"])
def test_a_hostile_comment_stays_text(own: Site, text: str) -> None:
    assert say(own, "comment", text=text).status_code == 200
    page = own.get(PAGE).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert text in unescape(page)


@pytest.mark.parametrize(
    "text", ["", "a" * 4097, "two\nlines", "escape \x1b[2J", HOSTILE, "\x00", "\u2028"], ids=lambda t: repr(t)[:12]
)
def test_what_is_no_line_of_text_is_refused_in_one_line(own: Site, text: str) -> None:
    answer = say(own, "comment", text=text)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert Histories(own.engine).of(BUG) == []


@pytest.mark.parametrize("action", ["comment", "state", "merge", "split"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"text": 1}', b"\xff", b"[" * 9000, b'{"nosuch": "x"}'])
def test_what_makes_no_sense_is_refused(own: Site, action: str, body: bytes) -> None:
    headers = own.headers(Level.OPERATE) | {"Content-Type": "application/json"}
    answer = own.client.post(f"/api/v1{PAGE}/{action}", content=body, headers=headers)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


def test_one_that_is_too_long_for_a_form_is_refused(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    assert submit(own, "comment", text="a" * 5000).status_code == 422
    assert submit(own, "comment", text="a" * 70_000).status_code == 413
    assert submit(own, "state", state="nosuch", why="x").status_code == 422


def test_a_form_without_the_sessions_token_is_refused(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    for action in ("comment", "state", "merge", "split"):
        data = {"text": "x", "state": "fixed", "why": "x", "into": OTHER}
        assert own.client.post(f"{PAGE}/{action}", data=data).status_code == 403
    assert Histories(own.engine).of(BUG) == []


def test_who_may_only_read_sees_no_forms(own: Site) -> None:
    assert "said-form" in own.get(PAGE, Level.OPERATE).text
    assert "said-form" not in own.get(PAGE, Level.READ).text


def test_a_state_moves_and_its_history_says_why(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    submit(own, "state", state="invalid", why="the model lacks a barrier")
    assert own.get(f"/api/v1{PAGE}").json()["finding"]["state"] == "invalid"
    page = own.get(PAGE).text
    assert "open → invalid" in page
    assert "the model lacks a barrier" in page
    assert say(own, "state", state="open", why="it has it").json()["state"] == "open"


def test_a_merge_and_a_split_by_the_form(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    assert submit(own, "merge", into=f" {OTHER} ", why="one cause").status_code == 303
    assert "The same bug as" in own.get(PAGE).text
    assert "stands for" in own.get(f"/findings/1/{OTHER}").text
    assert BUG not in own.get("/api/v1/findings").text
    assert submit(own, "merge", into=OTHER, why="again").status_code == 400
    assert submit(own, "split", why="two after all").status_code == 303
    assert Merges(own.engine).into(OTHER) == []
    assert BUG in own.get("/api/v1/findings").text


def test_a_merge_and_a_split_by_the_api(own: Site) -> None:
    assert say(own, "merge", into=OTHER, why="one cause").json()["into"] == OTHER
    (merged,) = own.get(f"/api/v1/findings/1/{OTHER}/history").json()["merged"]
    assert (merged["signature"], merged["who"], merged["why"]) == (BUG, "operate token", "one cause")
    assert say(own, "split", why="two").json()["into"] is None
    assert say(own, "split", why="two").status_code == 400
    assert say(own, "merge", into=BUG, why="itself").status_code == 400
    assert say(own, "merge", into="nosuch", why="x").status_code == 400


def test_a_recheck_is_told(own: Site) -> None:
    finding = own.get(f"/api/v1{PAGE}").json()["finding"]
    number = next(due.finding for due in Rechecks(own.engine, "v2").all((BUG,)))
    Rechecks(own.engine, "v2").store(number, Seen(FindingState.FIXED, "all steps taken"), "a worker")
    told = own.get(f"/api/v1{PAGE}/history").json()
    assert finding["state"] == "open"
    assert (told["state"], told["rechecks"][0]["model_version"], told["rechecks"][0]["why"]) == (
        *("fixed", "v2"),
        "all steps taken",
    )
    page = own.get(PAGE).text
    assert "open → fixed" in page
    assert "<td>v2</td>" in page


def test_of_a_finding_that_is_not_there_nothing_can_be_said(own: Site) -> None:
    headers = own.headers(Level.OPERATE)
    for action, said in (("comment", {"text": "x"}), ("split", {"why": "x"})):
        assert own.client.post(f"/api/v1/findings/1/nosuch/{action}", json=said, headers=headers).status_code == 404
    assert own.get("/api/v1/findings/2/nosuch/history").status_code == 404
