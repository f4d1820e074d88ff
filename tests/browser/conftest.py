# SPDX-License-Identifier: GPL-2.0-only
"""A real server over a real search's findings, and a real browser in front of it."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, sync_playwright

from db.session import open_database
from db.store import Store
from tests.conftest import CHROMIUM
from tests.dashboard.site import SECRET, fill
from tests.workers.shell import COMMAND, environment


class Server(NamedTuple):
    """`mmufuzz dashboard` in a process of its own."""

    address: str
    folder: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Campaign 1 holds the golden programs."""
    folder = tmp_path_factory.mktemp("server")
    engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
    fill(Store(engine))
    engine.dispose()
    (folder / "admin.token").write_text(SECRET)
    (folder / "admin.token").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["dashboard", "--token-file", "admin.token", "--port", str(port)]
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment() | {"MMUFUZZ_REQUESTS_AT_ONCE": "100000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Uvicorn running" in line:
            break
    yield Server(f"http://127.0.0.1:{port}", folder)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()
