# SPDX-License-Identifier: GPL-2.0-only
"""A replay on a console: what it is about, then the two columns."""

import shutil
from typing import Final

from rich.console import Console
from rich.text import Text

from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Comparison
from fuzzer.tell.story import Row
from fuzzer.tell.two_columns import BROKEN, DIFFERS, header_lines, row_lines

# Two columns of sentences: more than the usual 80, so that a log reads well, too.
_PIPE_WIDTH: Final = 140


def print_telling(console: Console, reproducer: Reproducer, comparison: Comparison, rows: list[Row]) -> None:
    """What a reproducer is about, and its rows."""
    print_columns(console, header_lines(reproducer, comparison), rows)


def print_columns(console: Console, head: list[str], rows: list[Row]) -> None:
    """Head and rows, as wide as the terminal or, where there is none, as the environment variable COLUMNS says."""
    console.print("\n".join(head) + "\n")
    width = console.width if console.is_terminal else shutil.get_terminal_size((_PIPE_WIDTH, 0)).columns
    for line in row_lines(rows, width):
        style = "bold yellow" if line.startswith(DIFFERS) else "red" if BROKEN in line else ""
        console.print(Text(line, style))
