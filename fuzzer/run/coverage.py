# SPDX-License-Identifier: GPL-2.0-only
"""Which interleavings a search has met: pairs of points where one actor was preempted and another went on."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.schedule.turns import Turns


class Coverage:
    """`pairs`: (point an actor was preempted at, point the next actor then reached), as one number each. A curve that
    still grows means that the search still finds new interleavings."""

    def __init__(self) -> None:
        self.seen: vec[i64] = vec[i64]([0] * (1 << 16))  # 1: the pair is among `pairs`
        self.pairs: set[int] = set()

    def add(self, turns: Turns) -> None:
        """What a leader did."""
        for number in range(1, len(turns)):
            if turns.actor(number) != turns.actor(number - 1):
                pair = turns.point(number - 1) << 8 | turns.point(number)
                if self.seen[pair] == 0:
                    self.seen[pair] = 1
                    self.pairs.add(int(pair))

    def __len__(self) -> int:
        return len(self.pairs)
