# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C, SIGTERM and a closed terminal as something to look at between two steps, instead of an exception in the
middle of one."""

import signal
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Collects the signals that arrive while the block runs, in the main thread."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def exit_code(self) -> int:
        """The exit code by which a shell reports the first signal, e.g. 130 for Ctrl-C, 143 for SIGTERM; 0 if there was
        none."""
        return 128 + self.received[0] if self.received else 0

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
