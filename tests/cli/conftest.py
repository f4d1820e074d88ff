# SPDX-License-Identifier: GPL-2.0-only
"""One short search as a user would make it, whose results many tests look at."""

from pathlib import Path

import pytest

from tests.cli.shell import Searched, mmufuzz


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """60 programs of the TDP profile, in a process of its own; tests/sharing.py has the files that use it."""
    folder: Path = tmp_path_factory.mktemp("searched")
    strategies = "--strategy random-walk --strategy pct --strategy burst"  # named, for what these seeds show
    words = f"run --old no-struct-page --profile tdp --programs 60 --seed 1 {strategies} --jobs 1 --json report.json"
    return Searched(folder, mmufuzz(words, folder=folder, core="interpreted"))
