# SPDX-License-Identifier: GPL-2.0-only
"""The site that most tests only read."""

from collections.abc import Iterator

import pytest

from tests.dashboard.site import Site, site


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For tests that change nothing and never sign in."""
    with site(tmp_path_factory.mktemp("shared")) as shared:
        yield shared


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For tests that write or sign in."""
    with site(tmp_path_factory.mktemp("own")) as own:
        yield own
