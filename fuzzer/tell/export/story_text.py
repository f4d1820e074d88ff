# SPDX-License-Identifier: GPL-2.0-only
"""The story as a text file."""

from __future__ import annotations

from typing import Final

from fuzzer.reproducer import Reproducer
from fuzzer.tell.export.envelope import REPLAY_COMMAND, known_lines, text_line
from fuzzer.tell.story import Row
from fuzzer.tell.two_columns import header_lines, row_lines

_WIDTH: Final = 140


def story_text(reproducer: Reproducer, rows: list[Row]) -> str:
    """What `mmufuzz replay` prints, and the reproducer itself in one line at the end."""
    head = [f"# Replay this file: {REPLAY_COMMAND}", f"# {reproducer.signature}", *known_lines(reproducer), ""]
    told = header_lines(reproducer, reproducer.comparison())
    return "\n".join([*head, *told, "", *row_lines(rows, _WIDTH), "", text_line(reproducer)]) + "\n"
