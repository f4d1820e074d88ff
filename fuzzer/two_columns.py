# SPDX-License-Identifier: GPL-2.0-only
"""A replay as text: what it is about, then OLD beside NEW, step by step."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from fuzzer.compare import Comparison
from fuzzer.finding import Finding
from fuzzer.reproducer import Reproducer
from fuzzer.story import Cell, Row, first_difference
from fuzzer.words import program_words, switch_words
from reference_mmu.patches import PATCHES

DIFFERS: Final = ">>>"
BROKEN: Final = "!! "
WIDTH_MIN: Final = 80
_LABEL_WIDTH: Final = 10
_GUTTER: Final = 2

# What the experiment behind the attribution showed, by side that has the finding and direction.
_EXPERIMENTS: Final = {
    ("both", "sufficient"): "OLD plus this differs from OLD in the same way",
    ("both", "necessary"): "NEW differs from NEW without this in the same way",
    ("old", "sufficient"): "OLD plus this is clean",
    ("old", "necessary"): "NEW without this breaks it, too",
    ("new", "sufficient"): "OLD plus this breaks it, too",
    ("new", "necessary"): "NEW without this is clean",
}
_SIDES: Final = {"old": "in OLD alone", "new": "in NEW alone", "both": "in both"}


def header_lines(reproducer: Reproducer, comparison: Comparison) -> list[str]:
    """Verdict, sentence, patches, what is compared, program and interleaving, each labelled."""
    finding = reproducer.finding
    told = [(str(finding.verdict), headline(finding)), ("", finding.story)]
    for patch in finding.patches:
        title = PATCHES[patch].title if patch in PATCHES else "outside the catalogue"
        told.append(("because of", f"{patch} ({title})"))
    if finding.patches:
        told.append(("", _EXPERIMENTS.get((finding.side, finding.direction), finding.direction)))
    specs = f"OLD = {comparison.old.spec()}, NEW = {comparison.new.spec()}"
    told.append(("compared", f"{specs}; {comparison.leader.upper()} leads"))
    told.extend(program_words(reproducer.program))
    for switch in reproducer.switches:
        told.append(("switch", switch_words(reproducer.program, *switch)))
    if not reproducer.switches:
        told.append(("switch", "none: everybody runs until done or waiting"))
    return [f"{label:<{_LABEL_WIDTH}}  {text}".rstrip() for label, text in told]


def headline(finding: Finding) -> str:
    """What was found, by name."""
    if finding.kind == "violation":
        return f"{finding.what}, {_SIDES[finding.side]}"
    return finding.what if finding.sites[0] == "-" else f"{finding.what}, in {finding.sites[0]}"


def row_lines(rows: list[Row], width: int) -> list[str]:
    """The rows as two columns in `width` characters (at least WIDTH_MIN), the first differing one marked with >>>."""
    who = [f"{row.actor} {row.operation}".strip() for row in rows]
    width = max(width, WIDTH_MIN)
    who_width = min(max(map(len, who), default=0), width // 4)
    column = (width - len(DIFFERS) - 6 - who_width - 2 * _GUTTER) // 2
    marked = first_difference(rows)

    def line(mark: str, turn: str, name: str, old: str, new: str) -> str:
        return f"{mark:<3} {turn:>4} {name:<{who_width}}  {old:<{column}}  {new}".rstrip()

    lines = [line("", "turn", "who does what", "OLD", "NEW"), "-" * width]
    for index, row in enumerate(rows):
        parts = [
            textwrap.wrap(who[index], who_width, subsequent_indent="  "),
            list(_cell_lines(row.old, column)),
            list(_cell_lines(row.new, column)),
        ]
        for number in range(max(map(len, parts))):
            name, old, new = (part[number] if number < len(part) else "" for part in parts)
            mark = DIFFERS if index == marked and number == 0 else ""
            lines.append(line(mark, str(row.turn or "") if number == 0 else "", name, old, new))
    return lines


def _cell_lines(cell: Cell, width: int) -> Iterator[str]:
    yield from textwrap.wrap(cell.where, width)
    for text in cell.seen:
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    for text in cell.broken:
        yield from textwrap.wrap(text, width, initial_indent=BROKEN, subsequent_indent="   ")
