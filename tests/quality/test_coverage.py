# SPDX-License-Identifier: GPL-2.0-only
"""How the rows of the changelog stand is what `python -m tests.quality.coverage` wrote down."""

import re
from pathlib import Path

import pytest

from fuzzer.change.listed_patch import listed
from fuzzer.checked import Checked, checked_rows
from fuzzer.judge.shows import shows
from fuzzer.reproducer import decode_reproducer
from reference_mmu.changelog.patches import PATCHES
from tests.quality.coverage import PAGE, README, ROOT, check, table, with_number

KEPT = [row for row in checked_rows().values() if row.reproducer]


def test_the_page_says_what_is_written_down() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for patch in checked_rows():
        *_, line = table([listed(PATCHES[patch])])
        assert line in text, "run `python -m tests.quality.coverage`"


def test_the_readme_says_how_many_rows_were_asked_about() -> None:
    text = README.read_text(encoding="utf-8")
    assert re.search(r"changelog is 85 commits .* answered for \d+ of them", text, re.DOTALL)
    assert with_number(text, checked_rows()) == text, "run `python -m tests.quality.coverage`"
    assert sum(patch.listed for patch in PATCHES.values()) == 85


def test_every_reproducer_is_of_a_row_that_names_it() -> None:
    assert {f"docs/exposed/{file.name}" for file in (ROOT / "docs" / "exposed").iterdir()} == {
        row.reproducer for row in KEPT
    }


@pytest.mark.parametrize("row", KEPT, ids=lambda row: row.patch)
def test_the_reproducer_shows_the_row(row: Checked) -> None:
    """With the model of now: what else the model does meanwhile may be another trace."""
    reproducer = decode_reproducer((ROOT / row.reproducer).read_bytes())
    assert reproducer.finding.patches == (row.patch,)
    assert shows(reproducer.finding, reproducer.run()), f"run `python -m tests.quality.coverage {row.patch}`"


def test_a_row_is_checked_again_alike(tmp_path: Path) -> None:
    """Counts are the same whenever the same model is asked."""
    first, again = (check(PATCHES["always-dirty-if-writable"], tmp_path) for _ in range(2))
    assert first == again
    assert first.outcome == "exposed"
    assert (tmp_path / "always-dirty-if-writable.json").stat().st_size > 0
