# SPDX-License-Identifier: GPL-2.0-only
"""One pair of servers for all tests here that one process runs: starting them takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.fleet import Fleet
from tests.service.servers import Servers, running_servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with running_servers() as servers:
        yield servers


@pytest.fixture
def fleet(servers: Servers, tmp_path: Path) -> Iterator[Fleet]:
    """A database of its own, and workers that are gone after the test."""
    servers.broker.client().flushall()
    with Fleet(servers, tmp_path) as fleet:
        yield fleet
