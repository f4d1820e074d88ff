# SPDX-License-Identifier: GPL-2.0-only
"""On a console: how likely a finding is from each step of its interleaving on."""

from collections.abc import Iterator, Sequence
from typing import Final

from fuzzer.run.compare import Side
from fuzzer.tell.inevitable import Chances
from fuzzer.tell.story import Row

_BAR: Final = 30


def chance_lines(told: Chances, rows: Sequence[Row], leader: Side) -> Iterator[str]:
    """A line per step, with a bar of its share, and where it became inevitable."""
    yield "how often the finding shows when chance decides from a step on (95 % interval):"
    for chance in told.chances:
        bar = "#" * round(chance.share() * _BAR)
        interval = f"{chance.low * 100:3.0f}..{chance.high * 100:3.0f}"
        step = step_words(chance.step, rows, leader)
        yield f"{chance.step:>5} {chance.share() * 100:4.0f} %  {interval}  {bar:<{_BAR}}  {step}"
    if told.inevitable < 0:
        yield "it is never inevitable: even the whole schedule leaves it to chance"
    else:
        step = step_words(told.inevitable, rows, leader)
        yield f"inevitable after step {told.inevitable}, {step}: all of {told.chances[0].walks} walks show it"


def step_words(step: int, rows: Sequence[Row], leader: Side) -> str:
    """What the last step that is kept did, the first being 1."""
    if step == 0:
        return "nothing is kept"
    row = rows[step - 1]
    return f"{row.actor} {row.operation} {(row.old if leader == 'old' else row.new).where}"
