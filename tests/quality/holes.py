# SPDX-License-Identifier: GPL-2.0-only
"""The first table of docs/findings.md, made of fuzzer/known_holes.yaml.

python -m tests.quality.holes      write it
"""

from pathlib import Path
from typing import Final

from fuzzer.known_holes import HOLES

PAGE: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "findings.md"
HEAD: Final = "| name | finding | kernels | how to see it | mainline since |\n|---|---|---|---|---|\n"


def table() -> str:
    """The rows, each of which can be linked to by the name of its hole."""
    rows = (
        f'| <a id="{hole.id}"></a>`{hole.id}` | {hole.title} | {hole.kernels} | {hole.see} | {hole.mainline} |\n'
        for hole in HOLES.values()
    )
    return HEAD + "".join(rows)


def with_table(page: str) -> str:
    """The page with its first table made anew."""
    before, _, rest = page.partition(HEAD)
    _, blank, after = rest.partition("\n\n")
    return before + table() + blank[1:] + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
