# SPDX-License-Identifier: GPL-2.0-only
"""What is taken for a turn that hangs: one that goes on by itself, not one that somebody looks at."""

import sys
from collections.abc import Callable
from types import FunctionType

import pytest

from cli.watchdog import TICKS_MAX, Hung, _Watch


def turn(inside: Callable[[], None]) -> None:
    """The call that is watched."""
    inside()


@pytest.fixture
def watch() -> _Watch:
    watch = _Watch()
    watch.calls = frozenset({turn.__code__})
    return watch


def ticks_in(watch: _Watch, count: int, module: str) -> Callable[[], None]:
    """A function of some module in which the timer goes off so many times."""

    def inside() -> None:
        for _ in range(count):
            watch.tick(0, sys._getframe())

    return FunctionType(inside.__code__, {**globals(), "__name__": module}, closure=inside.__closure__)


def test_a_turn_that_does_not_end_hangs(watch: _Watch) -> None:
    turn(ticks_in(watch, TICKS_MAX, "model"))
    with pytest.raises(Hung, match=f"more than {TICKS_MAX} s at test_watchdog.py:"):
        turn(ticks_in(watch, TICKS_MAX + 1, "model"))


def test_turns_that_end_do_not_add_up(watch: _Watch) -> None:
    for _ in range(3):
        turn(ticks_in(watch, TICKS_MAX, "model"))


def test_who_stands_at_the_prompt_of_a_debugger_has_time(watch: _Watch) -> None:
    turn(ticks_in(watch, 20 * TICKS_MAX, "pdb"))
