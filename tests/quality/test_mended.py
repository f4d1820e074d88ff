# SPDX-License-Identifier: GPL-2.0-only
"""Every row of docs/findings.md about what the series mends is found again: its file is replayed and judged anew."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import pytest

from fuzzer.program.profile import PROFILES
from fuzzer.reproducer import decode_reproducer
from reference_mmu.changelog.patches import PATCHES
from tests.cli.shell import ROOT
from tests.golden import judged_anew

FOLDER: Final = ROOT / "docs" / "mended"
_ROW: Final = re.compile(
    r"^\| .+ \| (?P<patch>[\w-]+) \((?P<commit>[0-9a-f]{12})\) "
    r"\| `mmufuzz run --(?P<option>arch|profile) (?P<chosen>[\w-]+)`, program \d+ "
    r"\| `(?P<what>[\w-]+)`, (?P<verdict>[\w-]+): \[(?P<name>[\w-]+)\]\(mended/(?P=name)\.json\) \|$"
)


class Mended(NamedTuple):
    """One row. `option`: of `mmufuzz run`, with its value `chosen`."""

    patch: str
    commit: str
    option: str
    chosen: str
    what: str
    verdict: str
    name: str


def rows() -> list[Mended]:
    """The second table of the page. Raises AssertionError for a line of it that is no row."""
    table = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8").rpartition("|---|\n")[2]
    matches = {line: _ROW.match(line) for line in table.splitlines()}
    assert [line for line, match in matches.items() if match is None] == []
    return [Mended(**match.groupdict()) for match in matches.values() if match is not None]


ROWS: Final = rows()


def test_every_file_is_of_one_row() -> None:
    assert sorted(f"{row.name}.json" for row in ROWS) == sorted(file.name for file in FOLDER.iterdir())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_story_is_judged_as_the_row_says(row: Mended) -> None:
    reproducer = decode_reproducer((FOLDER / f"{row.name}.json").read_bytes())
    finding = judged_anew(reproducer)
    assert (finding.what, str(finding.verdict), finding.patches) == (row.what, row.verdict, (row.patch,))
    assert PATCHES[row.patch].upstream.startswith(row.commit)
    arch = reproducer.program.config.architecture
    assert arch in (PROFILES[row.chosen].arch if row.option == "profile" else (row.chosen,))
