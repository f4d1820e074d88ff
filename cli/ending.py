# SPDX-License-Identifier: GPL-2.0-only
"""How a search comes to its end: what time it is, and who cannot wait any longer."""

from __future__ import annotations

from typing import Final

_SETTLE_SECONDS: Final = 8.0
"""When its time is over, a search may judge and minimize what waits for so long; after a Ctrl-C not at all."""
_PRESSING_SECONDS: Final = 40.0
"""For so long it may then minimize what may fail it, since the smallest form decides the exit code."""
_GRACE_SECONDS: Final = 20.0
"""What nobody has judged the like of is judged all the same; and a minimization may be under way, of which an
interpreted one takes some seconds."""
_NEVER: Final = float("inf")


class Ending:
    """The end of a search whose time is over at `stop_at`. All times are those of one clock, in seconds.

    asked() says how often its processes are to be asked to end by now, see Search.stop(); is_over(), that they are to
    be ended. `interrupts` is how often somebody has pressed Ctrl-C, `decided` that the exit code is, and `pressing` how
    many findings that may fail the search have no small story yet.
    """

    def __init__(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self._stopped_at = _NEVER
        self._hurried_at = _NEVER

    def asked(self, now: float, interrupts: int, pressing: int, *, decided: bool = False) -> int:
        if interrupts or decided or now >= self._stop_at:
            self._stopped_at = min(self._stopped_at, now)
        settled_at = self._stopped_at + _SETTLE_SECONDS
        if interrupts or now > settled_at + (_PRESSING_SECONDS if pressing and not decided else 0):
            self._hurried_at = min(self._hurried_at, now)
        if self._hurried_at <= now:
            return 3
        return (self._stopped_at <= now) + (settled_at < now)

    def is_over(self, now: float, interrupts: int) -> bool:
        return interrupts > 1 or now > self._hurried_at + _GRACE_SECONDS


def words(asked: int, interrupts: int, pressing: int) -> str:
    """What to say when processes have been asked so often, "" for nothing."""
    if not pressing or interrupts:
        return ""
    if asked == 2:
        return f"time is over; {pressing} findings that may fail the search are still made small, Ctrl-C leaves them"
    return f"{pressing} findings that may fail the search are left as whole programs" if asked > 2 else ""
