# SPDX-License-Identifier: GPL-2.0-only
"""A replay as text: what it is about, then OLD beside NEW, step by step."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Finding
from fuzzer.program.program import Program
from fuzzer.program.words import program_words, switch_words
from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Comparison, Side
from fuzzer.tell.story import Cell, Row, first_difference
from reference_mmu.changelog.patches import PATCHES

DIFFERS: Final = ">>>"
BROKEN: Final = "!! "
WIDTH_MIN: Final = 80
_LABEL_WIDTH: Final = 10
_GUTTER: Final = 2
_DIFF_LINES_MAX: Final = 20

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
    """What a reproducer shows, what is compared, the program and its interleaving, each line labelled."""
    told = list(_finding_words(reproducer.finding))
    specs = f"OLD = {side_words(reproducer, comparison, 'old')}, NEW = {side_words(reproducer, comparison, 'new')}"
    told.append(("compared", f"{specs}; {comparison.leader.upper()} leads"))
    if reproducer.base:
        told.append(("base", f'both have a diff of {len(reproducer.base.splitlines())} lines: see "base" in the file'))
    told.extend(("change", line) for line in diff_words(reproducer.diff or ""))
    if reproducer.profile:
        told.append(("drawn", f"from the profile {reproducer.profile}"))
    told.extend(program_words(reproducer.program))
    for switch in reproducer.switches:
        told.append(("switch", switch_words(reproducer.program, *switch)))
    if not reproducer.switches:
        told.append(("switch", "none: everybody runs until done or waiting"))
    return _labelled(told)


def run_lines(comparison: Comparison, program: Program, interleaving: str) -> list[str]:
    """Head of a run that no reproducer records: what is compared, in which interleaving, and the program."""
    specs = f"OLD = {comparison.old.spec()}, NEW = {comparison.new.spec()}; {comparison.leader.upper()} leads"
    return _labelled([("compared", specs), ("schedule", interleaving), *program_words(program)])


def finding_lines(finding: Finding) -> list[str]:
    """Verdict, sentence and patches of a finding, each line labelled."""
    return _labelled(_finding_words(finding))


def _finding_words(finding: Finding) -> Iterator[tuple[str, str]]:
    yield str(finding.verdict), headline(finding)
    yield "", finding.story
    for patch in finding.patches:
        yield "because of", f"{patch} ({_title(patch)})"
    if finding.patches:
        yield "", _EXPERIMENTS.get((finding.side, finding.direction), finding.direction)


def _labelled(words: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{label:<{_LABEL_WIDTH}}  {text}".rstrip() for label, text in words]


def side_words(reproducer: Reproducer, comparison: Comparison, side: Side) -> str:
    """The semantics of a side, and whether it has the change that the reproducer carries."""
    semantics = comparison.old if side == "old" else comparison.new
    model = comparison.models.old if side == "old" else comparison.models.new
    changed = reproducer.diff and model is reproducer.comparison().models.new
    return f"{semantics.spec()} with {OWN_CHANGE}" if changed else semantics.spec()


def diff_words(diff: str) -> Iterator[str]:
    """What a diff changes: of each hunk its header, then the lines that go and come; cut where it gets long."""
    marked = [line for line in diff.splitlines() if line.startswith(("@@", "+", "-")) and not line.startswith("---")]
    yield from marked[:_DIFF_LINES_MAX]
    if len(marked) > _DIFF_LINES_MAX:
        yield f'... and {len(marked) - _DIFF_LINES_MAX} lines more: see "diff" in the file'


def _title(patch: str) -> str:
    if patch == OWN_CHANGE:
        return "not in the catalogue: the change below"
    return PATCHES[patch].title if patch in PATCHES else "outside the catalogue"


def headline(finding: Finding) -> str:
    """What was found, by name, and on which side or in which operation."""
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
    yield from textwrap.wrap(f"{cell.where}: {cell.place}" if cell.place else cell.where, width)
    for text in cell.seen:
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    for text in cell.broken:
        yield from textwrap.wrap(text, width, initial_indent=BROKEN, subsequent_indent="   ")
