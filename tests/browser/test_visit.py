# SPDX-License-Identifier: GPL-2.0-only
"""A reviewer's way through the dashboard: list, finding, picture, downloads, replay; by mouse, keyboard and phone."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from fuzzer.reproducer import encode_reproducer
from fuzzer.tell.export.trace_json import make_document
from tests.browser.visit import WIDTHS, Theme, visit
from tests.dashboard.server import Server
from tests.dashboard.site import BUG
from tests.golden import golden

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python") / "axe.min.js"
PAGES = [
    *("/", "/findings", f"/findings/1/{BUG}", "/campaigns", "/campaigns/1", "/campaigns/new", "/workers", "/changelog"),
    *("/changelog/age-elides-tlb-flush", "/holes", "/replays", "/tokens"),
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


def upload(page: Page, file: Path) -> None:
    page.goto("/replays")
    page.set_input_files("input[type=file]", file)
    page.click("main form.upload button")


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


def test_the_picture_says_where_a_point_is(chromium: Browser, server: Server) -> None:
    """Over a row, and in the step that is chosen: the kernel's function and what comes next there, as in the table."""
    told = make_document(golden("bug-219588"))
    numbers = {row.old.where: number for number, row in enumerate(told.rows)}
    alike, apart = numbers["to fault.pfn"], told.first_difference
    with visit(chromium, server) as page:
        open_bug(page)
        rows, goes = page.locator(".lanes .row"), page.locator(".state tr", has_text="goes").locator("td")
        for number in (alike, apart, len(told.rows) - 1):
            rows.nth(number).click()
            row = told.rows[number]
            words = [f"{cell.where}: {cell.place}" if cell.place else cell.where for cell in (row.old, row.new)]
            assert goes.all_inner_texts() == words
            points = words[:1] if words[0] == words[1] else [f"OLD {words[0]}", f"NEW {words[1]}"]
            shown = rows.nth(number).locator("title").text_content()
            assert shown == "\n".join([f"{row.actor} {row.operation}", *points])
        assert "kvm_mmu_faultin_pfn: the page is in hand" in (rows.nth(alike).locator("title").text_content() or "")


def test_where_it_became_inevitable_and_a_comment(chromium: Browser, server: Server) -> None:
    with visit(chromium, server) as page:
        page.goto(f"/findings/1/{BUG}")
        page.click("text=Where did it become inevitable?")
        expect(page.locator(".chances .share")).to_be_attached(timeout=90_000)
        expect(page.locator(".chances figcaption")).to_contain_text(
            re.compile(r"Inevitable after step .* to [\w.]+ \([\w ]+: .+\)")
        )
        expect(page.locator("#picture")).to_be_visible()
        page.locator(".lanes .row >> nth=4").click()
        expect(page.locator(".chances .now")).to_have_attribute("x1", "5")
        page.fill("input[name=text]", "<b>seen</b> on hardware")
        page.click("text=Comment >> nth=-1")
        expect(page.locator(".history")).to_contain_text("<b>seen</b> on hardware")
        page.click("text=Move to another state")
        page.select_option(".moves select[name=state]", "invalid")
        page.fill(".moves form[action$=state] input[name=why]", "a test")
        page.click(".moves button:text-is('Move')")
        expect(page.locator(".history")).to_contain_text("open → invalid")


def test_upload_a_program_and_watch_it_become_a_report(chromium: Browser, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "program.json"
    file.write_bytes(golden("bug-219588").program.encode())
    with visit(chromium, server) as page:
        upload(page, file)
        expect(page.locator("main")).to_contain_text("schedules.", timeout=90_000)
        page.click("table a:text-is('stale-writable-mmuw') >> nth=0")
        expect(page.locator("#picture")).to_be_visible()


def test_upload_and_watch_it_become_a_report(chromium: Browser, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(encode_reproducer(golden("collapsible-frozen")))
    with visit(chromium, server) as page:
        upload(page, file)
        expect(page.locator("main")).to_contain_text("Reproduced exactly.")
        expect(page.locator("#picture")).to_be_visible()


def test_the_growth_of_a_campaign_is_drawn(chromium: Browser, server: Server) -> None:
    with visit(chromium, server) as page:
        page.goto("/campaigns/1")
        expect(page.locator(".chart canvas")).to_be_visible()


def test_the_changelog_as_cells(chromium: Browser, server: Server) -> None:
    """A cell a row, with its state in words; it leads to the commit, in whatever groups they stand."""
    with visit(chromium, server) as page:
        page.goto("/changelog")
        cells = page.locator(".cells a.cell")
        expect(cells).to_have_count(85)
        expect(page.locator(".legend caption")).to_have_text("85 rows by state")
        page.select_option("select[name=by]", "kind")
        expect(page.locator("h2 >> nth=0")).to_have_text("semantic")
        assert page.url.endswith("/changelog?by=kind")
        expect(cells).to_have_count(85)
        cell = page.locator(".cells a[href='#age-elides-tlb-flush']")
        assert re.fullmatch(r"age-elides-tlb-flush: exposed after .* fewer-flushes", cell.get_attribute("title") or "")
        cell.click()
        expect(page.locator("article:target h3")).to_have_text("age-elides-tlb-flush")
        expect(page.locator("article:target")).to_be_in_viewport()


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
