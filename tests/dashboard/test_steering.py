# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns are started, paused, resumed and stopped as by `mmufuzz campaign`, from the page and by the API."""

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.fleets import FleetPlan, Fleets
from db.schema import CampaignState, Level
from fuzzer.schedule.schedulers import STRATEGIES
from reference_mmu.version import model_version
from tests.dashboard.site import SECRET, Site, started
from tests.dashboard.test_access import csrf_of
from workers.launch import BATCH_PROGRAMS, Wish

FORM = {"old": "old", "new": "new", "profile": "tdp", "seed": "7", "programs": "100", "seconds": "", "name": "mine"}


def state(site: Site, campaign: int) -> CampaignState:
    return Fleets(site.engine).status(campaign).campaign.state


def post(site: Site, address: str, **sent: Any) -> Any:
    return site.client.post(address, headers=site.headers(Level.OPERATE), **sent)


def click(client: TestClient, data: dict[str, str], headers: dict[str, str]) -> Any:
    return client.post("/campaigns", data=data, headers=headers, follow_redirects=False)


class TestPages:
    def submit(self, site: Site, address: str, **fields: Any) -> Any:
        return site.client.post(address, data={"csrf": csrf_of(site), **fields}, follow_redirects=False)

    def test_from_start_to_stop(self, own: Site) -> None:
        own.sign_in(Level.OPERATE)
        assert 'href="/campaigns/new"' in own.client.get("/campaigns").text
        started = self.submit(own, "/campaigns", **FORM)
        assert (started.status_code, started.headers["location"]) == (303, "/campaigns/2")
        stored = Fleets(own.engine).status(2).campaign
        assert (stored.name, stored.seed_first, stored.budget_programs, stored.budget_seconds) == ("mine", 7, 100, None)
        for action, other, expected in (
            ("pause", "resume", CampaignState.PAUSED),
            ("resume", "pause", CampaignState.RUNNING),
            ("stop", "", CampaignState.STOPPED),
        ):
            assert self.submit(own, f"/campaigns/2/{action}").headers["location"] == "/campaigns/2"
            assert state(own, 2) is expected
            offered = set(re.findall(r'action="/campaigns/2/(\w+)"', own.client.get("/campaigns/2").text))
            assert offered == ({other, "stop"} if other else set())

    def test_all_that_the_command_can_say(self, own: Site) -> None:
        own.sign_in(Level.OPERATE)
        page = own.client.get("/campaigns/new").text
        assert re.findall(r'name="strategies" value="([^"]+)"', page) == list(STRATEGIES)
        offered = set(re.findall(r'<(?:input|select)[^>]* name="(\w+)"', page))
        assert offered == {*Wish.__struct_fields__, "csrf", "key"}
        limits = {"task_seconds": "40", "memory_mib": "64", "slots_max": "3", "until_regression": "true"}
        chosen: dict[str, Any] = {**FORM, **limits, "strategies": ["burst", "pct"]}
        assert self.submit(own, "/campaigns", **chosen).status_code == 303
        status = Fleets(own.engine).status(2)
        assert status.campaign.strategies == ("burst", "pct")
        assert status.plan == FleetPlan(BATCH_PROGRAMS, True, 3, 40, 64)
        page = unescape(own.get("/campaigns/2").text)
        assert "<dd>burst, pct</dd>" in page
        assert "<dd>at most 40 s, at most 64 MiB more than its process has</dd>" in page
        assert own.get("/api/v1/campaigns/2").json()["plan"]["memory_mib"] == 64
        assert own.get("/api/v1/campaigns/1").json()["plan"] is None

    def test_what_was_ticked_comes_back_too(self, own: Site) -> None:
        own.sign_in(Level.OPERATE)
        chosen: dict[str, Any] = {**FORM, "programs": "0", "memory_mib": "17", "strategies": ["pct", "burst"]}
        page = self.submit(own, "/campaigns", **chosen).text
        assert re.findall(r'value="([^"]+)" checked', page) == ["pct", "burst"]
        assert "<details open>" in page
        assert 'value="17"' in page

    def test_a_form_that_is_sent_twice_starts_one_campaign(self, own: Site) -> None:
        own.sign_in(Level.OPERATE)
        keys = [
            re.findall(r'name="key" value="([\w-]{20,})"', own.client.get("/campaigns/new").text)[0] for _ in range(2)
        ]
        assert keys[0] != keys[1]
        wrong = self.submit(own, "/campaigns", **FORM | {"programs": "0", "key": keys[0]})
        assert f'name="key" value="{keys[0]}"' in wrong.text
        sent = [self.submit(own, "/campaigns", **FORM, key=key) for key in (keys[0], keys[0], keys[1], keys[0])]
        assert [answer.headers["location"][-1] for answer in sent] == ["2", "2", "3", "2"]
        again = self.submit(own, "/campaigns", **FORM | {"programs": "101", "key": keys[0]})
        assert again.headers["location"] == "/campaigns/4", "somebody went back and changed it"

    def test_two_clicks_at_the_same_time_start_one_campaign(self, own: Site) -> None:
        """By two processes over the same database."""
        own.sign_in(Level.OPERATE)
        data = {**FORM, "key": "the-same"}
        with started(own.engine, SECRET) as other, ThreadPoolExecutor(8) as clicks:
            headers = own.headers(Level.OPERATE)
            clients = [own.client, other] * 4
            sent = list(clicks.map(lambda one: click(one, data, headers), clients))
        assert {answer.headers["location"] for answer in sent} == {"/campaigns/2"}
        assert len(Fleets(own.engine).statuses(9)) == 1

    def test_bad_input_comes_back_with_what_was_typed(self, own: Site) -> None:
        own.sign_in(Level.OPERATE)
        for changed, said in (
            ({"programs": ""}, "a campaign without end"),
            ({"programs": "many"}, "programs: expected int"),
            ({"programs": "0"}, "programs: expected int >= 1"),
            ({"new": "old+nosuch"}, "new: unknown patch 'nosuch'"),
            ({"old": "new", "new": "old"}, "new: it lacks"),
            ({"profile": "nosuch"}, "profile: 'nosuch' is none of"),
            ({"name": "a\x07b"}, "name: expected at most 200 printable characters"),
            ({"nosuch": "1"}, "object contains unknown field nosuch"),
        ):
            answer = self.submit(own, "/campaigns", **FORM | changed)
            text = unescape(answer.text)
            assert answer.status_code == 400, changed
            assert f'role="alert">{said}' in text
            assert 'value="7"' in text
        assert own.get("/api/v1/campaigns/2").status_code == 404

    def test_who_may_read_only_is_offered_nothing(self, own: Site) -> None:
        post(own, "/api/v1/campaigns", json={"programs": 5})
        for address in ("/campaigns", "/campaigns/2"):
            assert "/campaigns/new" not in own.get(address).text
            assert 'action="/campaigns' not in own.get(address).text
        assert own.get("/campaigns/new").status_code == 403

    def test_a_search_by_one_process_is_not_steered(self, own: Site) -> None:
        assert 'action="/campaigns/1' not in own.get("/campaigns/1", Level.OPERATE).text
        answer = post(own, "/campaigns/1/stop")
        assert answer.status_code == 400
        assert "campaign 1 was searched by one 'mmufuzz run'" in unescape(answer.text)

    def test_it_says_why_nothing_happens(self, own: Site) -> None:
        post(own, "/api/v1/campaigns", json={"programs": 5})
        assert "it waits: there is no live worker; start one with 'mmufuzz worker'" in unescape(
            own.get("/campaigns/2").text
        )


class TestApi:
    def test_from_start_to_stop(self, own: Site) -> None:
        started = post(own, "/api/v1/campaigns", json={"profile": "tdp", "seconds": 60, "until_regression": True})
        assert (started.status_code, started.headers["location"]) == (201, "/api/v1/campaigns/2")
        row = started.json()
        assert (row["id"], row["profile"], row["state"], row["model_version"]) == (2, "tdp", "running", model_version())
        for action, expected in (("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
            assert post(own, f"/api/v1/campaigns/2/{action}").json()["state"] == expected
        late = post(own, "/api/v1/campaigns/2/resume")
        assert (late.status_code, late.json()["error"]) == (400, "campaign 2 is stopped: it cannot become running")

    def test_the_same_key_is_the_same_request(self, own: Site) -> None:
        def sent(key: str, level: Level = Level.OPERATE, programs: int = 5) -> int:
            headers = own.headers(level) | {"Idempotency-Key": key}
            answer = own.client.post("/api/v1/campaigns", json={"programs": programs}, headers=headers)
            assert answer.status_code == 201
            assert answer.headers["location"] == f"/api/v1/campaigns/{answer.json()['id']}"
            return int(answer.json()["id"])

        assert [sent("a"), sent("a"), sent("b"), sent("a")] == [2, 2, 3, 2]
        assert sent("a", Level.ADMIN) == 4
        assert sent("a", programs=6) == 5
        assert sent("") == 6
        headers = own.headers(Level.OPERATE) | {"Idempotency-Key": "a" * 201}
        assert own.client.post("/api/v1/campaigns", json={"programs": 5}, headers=headers).status_code == 422

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "input data was truncated"),
            (b"{}", "a campaign without end"),
            (b'{"programs": true}', "programs: expected int | null, got bool"),
            (b'{"programs": 1, "old": "new", "new": "old"}', "new: it lacks"),
        ],
    )
    def test_bad_input(self, own: Site, body: bytes, said: str) -> None:
        answer = post(own, "/api/v1/campaigns", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(said)
        assert len(own.get("/api/v1/campaigns").json()["campaigns"]) == 1

    @pytest.mark.parametrize(("address", "status"), [("7/pause", 404), ("1/explode", 422), ("1/pause", 400)])
    def test_what_cannot_be_steered(self, own: Site, address: str, status: int) -> None:
        assert post(own, f"/api/v1/campaigns/{address}").status_code == status
