# SPDX-License-Identifier: GPL-2.0-only
"""The commands that docs/operating.md shows, by the heading they stand under."""

import re
from pathlib import Path
from typing import Final

OPERATING: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "operating.md"


def commands_of(heading: str) -> list[str]:
    """The lines of the sh blocks under `### heading`, continued lines joined, without comments."""
    text = OPERATING.read_text(encoding="utf-8")
    section = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, f"docs/operating.md has no heading '{heading}'"
    blocks = "".join(re.findall(r"```sh\n(.*?)```", section[1], re.DOTALL)).replace("\\\n", "")
    lines = (re.sub(r"\s+", " ", line.partition("#")[0]).strip() for line in blocks.splitlines())
    return [line for line in lines if line]
