# SPDX-License-Identifier: GPL-2.0-only
"""A changed model may loop between two preemption points, where neither scheduler nor step limit gets a word in.

A timer looks every second which turn this process is in. It is interpreted code that such a model runs, so the turn is
a frame on the stack, and where it loops can be told by line. Ticks are counted, not seconds: a process that was
suspended, or a machine that slept, has missed them. A turn that somebody looks at in a debugger may last.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

TICK_SECONDS: Final = 1.0
# A turn takes microseconds, loading a changed model a fraction of a second.
TICKS_MAX: Final = 5
_CALLERS_TOLD: Final = 3
_DEBUGGERS: Final = frozenset(("pdb", "bdb"))


# By this signal the kernel ends a process whose compiled change hangs.
HUNG: Final = signal.SIGVTALRM


class Hung(BaseException):
    """One turn does not end; the message says for how long, and where it is.

    No Exception: those that a changed flow raises are findings.
    """


@contextmanager
def watchdog() -> Iterator[None]:
    """Raises Hung in the block when one turn in it, or the import of a changed model, has not ended after TICKS_MAX
    ticks. Only in the main thread. Compiled code hears no signal, see last_resort()."""
    watch = _Watch()
    before = signal.signal(signal.SIGALRM, watch.tick)
    timer = signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


@contextmanager
def last_resort() -> Iterator[None]:
    """Ends the process by HUNG when compiled code has not come back in the block for as long as watchdog() would wait,
    in processor time: nothing can be raised in there, so only the kernel can. Only in the main thread."""
    seconds = TICKS_MAX * TICK_SECONDS
    before = signal.signal(signal.SIGALRM, lambda number, frame: signal.setitimer(signal.ITIMER_VIRTUAL, seconds))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Watch:
    """Counts the ticks that one and the same call has lasted."""

    def __init__(self) -> None:
        self.calls = _watched_calls()
        self.call: FrameType | None = None
        self.ticks = 0

    def tick(self, _number: int, frame: FrameType | None) -> None:
        stack: list[FrameType] = []
        while frame is not None and frame.f_code not in self.calls:
            stack.append(frame)
            frame = frame.f_back
        # The frame is kept, so no later call can be mistaken for it.
        goes_on = frame is self.call and not any(one.f_globals.get("__name__") in _DEBUGGERS for one in stack)
        self.ticks = self.ticks + 1 if goes_on else 0
        self.call = frame
        if frame is not None and self.ticks >= TICKS_MAX:
            seconds = round(TICKS_MAX * TICK_SECONDS)
            raise Hung(f"more than {seconds} s at {_places(stack)}")


def _watched_calls() -> frozenset[CodeType]:
    """The calls that are watched, imported when they are asked for: the core must have been chosen by then."""
    from fuzzer.change.variant import load_variant
    from fuzzer.run.execute import Execution

    codes = (getattr(call, "__code__", None) for call in (Execution.step, load_variant))
    return frozenset(code for code in codes if isinstance(code, CodeType))


def _places(stack: list[FrameType]) -> str:
    """The innermost calls of the model, e.g. "x86/spte.py:10 is_mmio_spte < x86/tdp_mmu/zap.py:55 zap_gfn"."""
    inside = [frame for frame in stack if _file_of_model(frame)]
    told = (inside or stack)[:_CALLERS_TOLD]
    places = ((_file_of_model(f) or Path(f.f_code.co_filename).name, f) for f in told)
    return " < ".join(f"{file}:{f.f_lineno} {f.f_code.co_name}" for file, f in places)


def _file_of_model(frame: FrameType) -> str:
    """The frame's file below reference_mmu, or below a changed copy of that; "" if it is none of the model's."""
    parts = Path(frame.f_code.co_filename).parts
    package = next((place for place, part in enumerate(parts) if part.startswith("reference_mmu")), len(parts))
    return "/".join(parts[package + 1 :])
