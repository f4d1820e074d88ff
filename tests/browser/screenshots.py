# SPDX-License-Identifier: GPL-2.0-only
"""The pictures of the README: real pages over a real search's findings.

    python -m tests.browser.screenshots FOLDER

FOLDER is where `mmufuzz run` has searched until it met kernel bug 219588, some minutes; its database is copied, the
copy is served, and docs/images/*.png are written.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from db.history import Histories
from db.schema import FindingState
from db.session import open_database
from db.store import Store
from tests.browser.visit import Theme, visit
from tests.cli.shell import ROOT
from tests.conftest import CHROMIUM
from tests.dashboard.server import Server, serving

IMAGES: Final = ROOT / "docs" / "images"
BYTES_MAX: Final = 150_000
_DESKTOP: Final[ViewportSize] = {"width": 1200, "height": 720}
_SHOWN: Final = "stale-writable-mmuw"
"""The invariant that kernel bug 219588 broke."""


class Shot(NamedTuple):
    """One picture: of which page, in which theme and width, scrolled to what."""

    name: str
    address: str
    theme: Theme = "light"
    width: str = "desktop"
    begins: str = ""


def shots(finding: str) -> list[Shot]:
    """All there are."""
    return [
        Shot("overview", "/"),
        Shot("finding", finding, begins="#interleaving"),
        Shot("finding-dark", finding, "dark", begins="#interleaving"),
        Shot("changelog", "/changelog"),
        Shot("phone-dark", finding, "dark", "phone"),
        Shot("phone-picture-dark", finding, "dark", "phone", "#interleaving"),
    ]


def take(chromium: Browser, server: Server, shot: Shot) -> Path:
    """Raises SystemExit for a picture that is too large for a README."""
    file = IMAGES / f"{shot.name}.png"
    with visit(chromium, server, shot.theme, shot.width) as page:
        if shot.width == "desktop":
            page.set_viewport_size(_DESKTOP)
        page.goto(shot.address)
        if shot.begins:
            _show_step(page)
            page.evaluate("selector => document.querySelector(selector).scrollIntoView()", shot.begins)
        page.screenshot(path=file)
    if file.stat().st_size > BYTES_MAX:
        raise SystemExit(f"{file.name} has {file.stat().st_size} bytes, at most {BYTES_MAX} are wanted")
    return file


def _show_step(page: Page) -> None:
    """The picture with the curve above it."""
    page.goto(f"{page.url}?chances=yes")
    expect(page.locator(".chances svg")).to_be_visible(timeout=90_000)
    page.goto(page.url.partition("?")[0])
    expect(page.locator("#picture")).to_be_visible()
    page.click('[data-step="difference"]')


def _finding(folder: Path) -> str:
    """The address of the bug's page; people have said something about it."""
    engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
    row = next(row for row in Store(engine).findings(limit=1000) if row.finding.what == _SHOWN and row.reproducer)
    histories = Histories(engine)
    histories.comment(row.signature, "eve", "this is kernel bug 219588", row.campaign)
    histories.move(row.signature, FindingState.OPEN, "eve", "seen on hardware, too", row.campaign)
    engine.dispose()
    return f"/findings/{row.campaign}/{row.signature}"


def main() -> int:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(Path(sys.argv[1]) / "mmufuzz.db", folder)
        finding = _finding(folder)
        with serving(folder) as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
            for shot in shots(finding):
                print(take(chromium, server, shot).relative_to(ROOT))
            chromium.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
