# SPDX-License-Identifier: GPL-2.0-only
"""A reviewer's way through the dashboard: list, finding, picture, downloads, replay; by mouse, keyboard and phone."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from fuzzer.export.forms import FORMS
from fuzzer.reproducer import encode_reproducer
from tests.browser.visit import WIDTHS, Theme, visit
from tests.dashboard.server import Server
from tests.dashboard.site import BUG
from tests.golden import golden
from tests.workers.shell import environment, mmufuzz

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

AXE = files("axe_playwright_python") / "axe.min.js"
PAGES = [
    *("/", "/findings", f"/findings/1/{BUG}", "/campaigns", "/campaigns/1", "/campaigns/new", "/workers", "/changelog"),
    *("/changelog/age-elides-tlb-flush", "/replays", "/tokens"),
]


def open_bug(page: Page) -> None:
    """From the list, by its filters, to the finding."""
    page.goto("/findings")
    expect(page.locator("#results tbody tr")).to_have_count(8)
    page.select_option("select[name=verdict]", "fixed")
    expect(page.locator("#results tbody tr")).to_have_count(1)
    assert "verdict=fixed" in page.url
    page.click("#results tbody a >> nth=0")
    expect(page.locator("h1")).to_contain_text("stale-writable-mmuw, in OLD alone")
    expect(page.locator("#picture")).to_be_visible()


def test_search_as_one_types(chromium: Browser, server: Server) -> None:
    with visit(chromium, server) as page:
        page.goto("/findings")
        page.type("#text", "huge-before")
        expect(page.locator("#results tbody tr")).to_have_count(1)
        page.fill("#text", "no such thing")
        expect(page.locator("#results")).to_contain_text("No finding matches.")


def test_step_through_the_picture(chromium: Browser, server: Server) -> None:
    with visit(chromium, server) as page:
        open_bug(page)
        state, lanes = page.locator(".state"), page.locator(".lanes")
        steps = int(page.locator("#picture input[type=range]").get_attribute("max") or "0")
        expect(lanes.locator(".row")).to_have_count(steps)
        expect(lanes.locator(".divergence")).to_have_count(1)
        expect(lanes.locator(".broken >> nth=0")).to_be_attached()
        # It begins at the first difference, and the keyboard steps on from there to where OLD breaks.
        lanes.focus()
        for _ in range(steps):
            if "stale-writable-mmuw" in state.inner_text():
                break
            page.keyboard.press("ArrowDown")
        expect(state).to_contain_text("breaks")
        tlb = state.locator("tr", has_text="gfn 13").locator("td >> nth=0")
        assert "pfn 5 A" in tlb.first.inner_text()
        page.keyboard.press("Home")
        expect(state).to_contain_text("Before the first step")
        page.keyboard.press("End")
        expect(page.locator("#picture output")).to_contain_text(f"{steps} of {steps}")
        page.click('[data-step="difference"]')
        expect(lanes.locator(".row.selected.differs")).to_have_count(1)
        lanes.locator(".row >> nth=18").click()
        expect(page.locator("#picture output")).to_contain_text("19 of")
        expect(state).to_contain_text("pfn 5 W MMU-W A D")


@pytest.mark.parametrize("form", FORMS)
def test_download_and_replay_in_a_fresh_process(chromium: Browser, server: Server, form: str, tmp_path: Path) -> None:
    with visit(chromium, server) as page:
        page.goto(f"/findings/1/{BUG}")
        with page.expect_download() as waiting:
            page.click(f"a[download]:text-is('{form}')")
        file = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(file)
    if form == "pytest":
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file.name]
        run = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    else:
        run = mmufuzz(f"replay {file.name}", tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ("1 passed" if form == "pytest" else "reproduced exactly: fixed") in run.stdout


def test_downloads_of_a_campaign(chromium: Browser, server: Server, tmp_path: Path) -> None:
    with visit(chromium, server) as page:
        page.goto("/campaigns/1")
        for text, name in (("zip with reproducers", "findings-1.zip"), ("CSV", "findings-1.csv")):
            with page.expect_download() as waiting:
                page.click(f"a[download]:text-is('{text}')")
            assert waiting.value.suggested_filename == name
        expect(page.locator(".chart canvas")).to_be_visible()


def test_upload_and_watch_it_become_a_report(chromium: Browser, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(encode_reproducer(golden("collapsible-frozen")))
    with visit(chromium, server) as page:
        page.goto("/replays")
        page.set_input_files("input[type=file]", file)
        page.click("main button")
        expect(page.locator("main")).to_contain_text("Reproduced exactly.")
        expect(page.locator("#picture")).to_be_visible()


def test_a_diff_unfolds_in_the_changelog(chromium: Browser, server: Server) -> None:
    with visit(chromium, server) as page:
        page.goto("/changelog")
        commit = page.locator("article", has_text="age-elides-tlb-flush").first
        commit.locator("summary").click()
        expect(commit.locator("pre.diff")).to_contain_text("@@")


def test_without_scripts_all_is_there(chromium: Browser, server: Server) -> None:
    with visit(chromium, server, scripts=False) as page:
        page.goto("/findings?verdict=fixed")
        page.click("#results tbody a >> nth=0")
        expect(page.locator("#picture")).to_be_hidden()
        expect(page.locator(".first-difference")).to_be_visible()
        page.goto("/findings")
        page.select_option("select[name=verdict]", "fixed")
        page.click("text=Show")
        expect(page.locator("#results tbody tr")).to_have_count(1)


def test_everything_can_be_reached_by_keyboard(chromium: Browser, server: Server) -> None:
    with visit(chromium, server) as page:
        page.goto(f"/findings/1/{BUG}")
        expect(page.locator("#picture")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("(document.activeElement.className || document.activeElement.type || '') + ''"))
        assert {"lanes", "state", "range", "button", "checkbox"} <= reached


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible_and_no_wider_than_the_screen(chromium: Browser, server: Server, theme: Theme, width: str) -> None:
    with visit(chromium, server, theme, width) as page:
        for address in PAGES:
            page.goto(address)
            if "/findings/1/" in address:
                expect(page.locator("#picture")).to_be_visible()
            scroll, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert scroll <= inner, address
            # The policy lets no script in from outside the server; the debugger's own evaluation is exempt.
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate("axe.run({resultTypes: ['violations']})")
            serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
            assert [(v["id"], [n["target"] for n in v["nodes"][:3]]) for v in serious] == [], address
