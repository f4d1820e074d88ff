# SPDX-License-Identifier: GPL-2.0-only
"""What is taken for a turn that hangs: one that goes on by itself, not one that somebody looks at."""

import subprocess
import sys
from collections.abc import Callable
from types import FunctionType

import pytest

from cli.watchdog import HUNG, TICKS_MAX, Hung, _Watch


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


def test_compiled_code_that_does_not_come_back_ends_its_process() -> None:
    script = """
import cli.watchdog
cli.watchdog.TICK_SECONDS = 0.02
with cli.watchdog.last_resort():
    for _ in range(10**7):
        pass
    print("not while a signal is heard", flush=True)
    sum(range(10**12))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == -HUNG
    assert run.stdout == "not while a signal is heard\n"


def test_who_stands_at_the_prompt_of_a_debugger_has_time(watch: _Watch) -> None:
    turn(ticks_in(watch, 20 * TICKS_MAX, "pdb"))
