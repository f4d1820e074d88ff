# SPDX-License-Identifier: GPL-2.0-only
"""A real server over a real search's findings, and a real browser in front of it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from db.session import open_database
from db.store import Store
from tests.conftest import CHROMIUM
from tests.dashboard.server import Server, serving
from tests.dashboard.site import fill


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Campaign 1 holds the golden programs."""
    folder = tmp_path_factory.mktemp("server")
    engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
    fill(Store(engine))
    engine.dispose()
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        # Where the processors are busy, five seconds, as it has them, are not enough for a page.
        expect.set_options(timeout=30_000)
        yield browser
        browser.close()
