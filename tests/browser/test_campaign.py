# SPDX-License-Identifier: GPL-2.0-only
"""A campaign over the real stack, by mouse: a worker, PostgreSQL, a Redis-protocol server, the dashboard, a browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visit import visit
from tests.cli.shell import mmufuzz
from tests.dashboard.server import serving
from tests.service.fleet import Fleet
from tests.service.servers import running_servers

pytestmark = pytest.mark.browser
PROGRAMS = 24
SEARCH_MS = 180_000


def tile(page: Page, name: str) -> str:
    return page.locator(f"#live dt:text-is('{name}') + dd").inner_text()


def start(page: Page) -> None:
    """Fill in the form."""
    page.goto("/campaigns")
    page.click("text=New campaign")
    page.select_option("#profile", "tdp")
    page.fill("#seed", "1")
    page.fill("#programs", str(PROGRAMS))
    page.click("summary")
    page.fill("#batch_programs", "2")
    page.click("main button")
    page.wait_for_url("**/campaigns/1")


def test_from_the_form_to_a_replayed_finding(chromium: Browser, tmp_path: Path) -> None:
    with (
        running_servers() as servers,
        Fleet(servers, tmp_path) as fleet,
        serving(tmp_path, MMUFUZZ_DATABASE=fleet.url) as server,
        visit(chromium, server) as page,
    ):
        start(page)
        expect(page.locator("#live")).to_contain_text("it waits: there is no live worker")
        fleet.start_worker()
        # A mark that a page loaded anew would not have: what changes from here on was told to this page.
        page.evaluate("window.mark = 'here'")
        expect(page.locator("#live")).to_contain_text("running", timeout=SEARCH_MS)
        assert tile(page, "programs") != "0"
        assert page.evaluate("window.mark") == "here"
        page.click("text=Pause")
        expect(page.locator("#live")).to_contain_text("paused")
        page.goto("/workers")
        expect(page.locator("#workers")).to_contain_text("alive")
        page.goto("/campaigns/1")
        page.click("text=Resume")
        page.evaluate("window.mark = 'here'")
        expect(page.locator("#live dl >> nth=0")).to_contain_text("finished", timeout=SEARCH_MS)
        assert tile(page, "programs") == str(PROGRAMS)
        expect(page.locator("#steer button")).to_have_count(0)
        expect(page.locator("#found tbody a >> nth=0")).to_be_visible()
        assert page.evaluate("window.mark") == "here"
        replay_the_first(page, tmp_path)


def replay_the_first(page: Page, folder: Path) -> None:
    page.click("#found tbody a >> nth=0")
    expect(page.locator("#picture")).to_be_visible()
    with page.expect_download() as waiting:
        page.click("a[download]:text-is('reproducer')")
    waiting.value.save_as(folder / "found.json")
    run = mmufuzz("replay found.json", folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "reproduced exactly" in run.stdout
