# SPDX-License-Identifier: GPL-2.0-only
"""The workers' page and list."""

from datetime import timedelta
from html import unescape
from typing import Any

from db.dispatch import Patience, dispatch
from db.handout import TaskName
from db.liveness import WorkerRow, note_worker
from db.schema import Level, TaskKind
from db.tasks import Tasks
from reference_mmu.version import model_version
from tests.dashboard.site import NOW, Site


def start(site: Site, **wish: Any) -> int:
    made = site.client.post("/api/v1/campaigns", json={"programs": 5, **wish}, headers=site.headers(Level.OPERATE))
    return int(made.json()["id"])


def test_nobody(shared: Site) -> None:
    assert shared.get("/api/v1/workers").json() == {"model_version": model_version(), "workers": []}
    assert "mmufuzz worker" in shared.get("/workers").text


def test_who_is_there_and_what_he_runs(own: Site) -> None:
    campaign = start(own, batch_programs=1)
    for name, host, model, ago in (
        ("one", "alpha", model_version(), 1),
        ("two", "<beta>", "another", 2),
        ("three", "gamma", model_version(), 3600),
    ):
        note_worker(own.engine, WorkerRow(name, host, 7, 4, model, NOW, NOW - timedelta(seconds=ago)))
    dispatch(own.engine, campaign, Patience(60, 300), lambda: NOW)
    Tasks(own.engine, lambda: NOW).begin(TaskName(campaign, TaskKind.BATCH, 3), "one", model_version())
    listed = own.get("/api/v1/workers").json()["workers"]
    assert [(one["worker"]["host"], one["is_alive"]) for one in listed] == [
        ("alpha", True),
        ("<beta>", True),
        ("gamma", False),
    ]
    assert [(task["campaign"], task["kind"], task["number"]) for task in listed[0]["tasks"]] == [(campaign, "batch", 3)]
    page = own.get("/workers").text
    assert "&lt;beta&gt;" in page
    for said in ("batch 3 of", f'href="/campaigns/{campaign}"', "not this server's", ">silent<", ">8</dd>"):
        assert said in unescape(page), said
    assert "waits: no live worker" not in page
    assert "2 live workers</a> with 8 slots" in own.get("/").text


def test_campaigns_that_no_worker_can_take(own: Site) -> None:
    campaign = start(own)
    page = " ".join(own.get("/workers").text.split())
    assert f'<a href="/campaigns/{campaign}">Campaign {campaign}</a> waits: no live worker has its model' in page
