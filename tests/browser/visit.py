# SPDX-License-Identifier: GPL-2.0-only
"""A signed-in visit to the dashboard, in a theme and at a width."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from playwright.sync_api import Browser, Page

from tests.dashboard.server import Server
from tests.dashboard.site import SECRET

Theme = Literal["light", "dark"]
WIDTHS: Final = {"phone": (390, 844), "desktop": (1400, 900)}


@contextmanager
def visit(
    chromium: Browser, server: Server, theme: Theme = "light", width: str = "desktop", *, scripts: bool = True
) -> Iterator[Page]:
    """A page that is signed in. Whatever goes wrong in its scripts, or breaks the policy, fails the test."""
    across, down = WIDTHS[width]
    context = chromium.new_context(
        base_url=server.address,
        color_scheme=theme,
        viewport={"width": across, "height": down},
        accept_downloads=True,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto("/login")
    page.fill("input[name=token]", SECRET)
    page.click("main button")
    page.wait_for_url("**/")
    yield page
    context.close()
    assert problems == []
