# SPDX-License-Identifier: GPL-2.0-only
"""How much of the interleaving space a search has seen: which point was left for which other actor's point."""

from __future__ import annotations

from fuzzer.schedule import Turn


class Coverage:
    """Pairs (point an actor was preempted at, point the next actor then reached). A curve that still grows means that
    the search still finds new interleavings."""

    def __init__(self) -> None:
        self.pairs: set[int] = set()

    def add(self, turns: list[Turn]) -> None:
        last: Turn | None = None
        for turn in turns:
            if last is not None and turn.actor != last.actor:
                self.pairs.add(last.point << 8 | turn.point)
            last = turn

    def __len__(self) -> int:
        return len(self.pairs)
