# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns are started, paused, resumed and stopped as by `mmufuzz campaign`, from the page and by the API."""

import re
from html import unescape
from typing import Any

import pytest

from db.fleets import Fleets
from db.schema import CampaignState, Level
from reference_mmu.version import model_version
from tests.dashboard.site import Site
from tests.dashboard.test_access import csrf_of

FORM = {"old": "old", "new": "new", "profile": "tdp", "seed": "7", "programs": "100", "seconds": "", "name": "mine"}


def state(site: Site, campaign: int) -> CampaignState:
    return Fleets(site.engine).status(campaign).campaign.state


def post(site: Site, address: str, **sent: Any) -> Any:
    return site.client.post(address, headers=site.headers(Level.OPERATE), **sent)


class TestPages:
    def submit(self, site: Site, address: str, **fields: str) -> Any:
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

    def test_bad_input_comes_back_with_what_was_typed(self, own: Site) -> None:
        own.sign_in(Level.OPERATE)
        for changed, said in (
            ({"programs": ""}, "a campaign without end"),
            ({"programs": "many"}, "programs: expected int"),
            ({"programs": "0"}, "programs: expected int >= 1"),
            ({"new": "old+nosuch"}, "new: unknown patch 'nosuch'"),
            ({"old": "new", "new": "old"}, "new: it lacks"),
            ({"profile": "nosuch"}, "profile: 'nosuch' is none of"),
            ({"name": "a\x07b"}, "name: expected 1 to 4096 printable characters"),
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
