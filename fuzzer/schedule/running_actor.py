# SPDX-License-Identifier: GPL-2.0-only
"""One actor of a program in the middle of its operations."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64, mypyc_attr

from reference_mmu.operations import Call
from reference_mmu.points import END, FAULT_ENTER, PointTable

Flow = Generator[int, None, object]


@mypyc_attr(acyclic=True)
class RunningActor:
    """`at`: the point it stands at, END between operations.

    Its position is (`place`, `faults`, `lap`, `at`): the number of the operation, the page faults it has taken so far,
    how often since then the flow went back to an earlier point, and the rank of the point. Faults count apart: a walk
    that is repeated because a flush threw the vCPU out of the guest must not look like one that is repeated after a
    fault.
    """

    def __init__(self, number: i64, calls: list[Call], points: PointTable) -> None:
        self.number = number
        self.points = points
        self.calls = calls
        self.flow: Flow | None = None
        self.place: i64 = 0
        self.faults: i64 = 0
        self.lap: i64 = 0
        self.at: i64 = END
        self.rank: i64 = 0  # of that point, 0 for END
        self.wants: i64 = 0  # what it waits for at this point, points.WANT_*
        self.uid: i64 = calls[0].uid if calls else -1  # of the operation it is in, or will start next; -1: finished
        self.ended_faults: i64 = 0  # of the operation that it ended last
        self.resched: i64 = 0  # the operation's mask, as far as it is not used up
        self.mishaps: i64 = 0  # the operation's

    def come_to(self, point: i64) -> None:
        """The operation goes on to a point."""
        points = self.points
        rank = points.ranks[point]
        if point == FAULT_ENTER:
            self.faults += 1
            self.lap = 0
        elif rank <= self.rank:
            self.lap += 1
        self.at = point
        self.rank = rank
        self.wants = points.wants[point]

    def end_operation(self) -> None:
        """The operation is over; the next one is the next."""
        self.flow = None
        self.at = END
        self.rank = 0
        self.wants = 0
        self.ended_faults = self.faults
        self.faults = 0
        self.lap = 0
        self.place += 1
        self.uid = -1
        if self.place < len(self.calls):
            self.uid = self.calls[self.place].uid

    def reached(self, other: RunningActor) -> bool:
        """Is it, in the same operation, at or beyond the other's position?"""
        if self.faults != other.faults:
            return self.faults > other.faults
        if self.lap != other.lap:
            return self.lap > other.lap
        return self.rank >= other.rank

    def is_abreast(self, other: RunningActor) -> bool:
        """Are the two at the same position? At an operation's end: by the same number of faults, too."""
        if self.place != other.place or self.at != other.at or self.faults != other.faults or self.lap != other.lap:
            return False
        return self.at != END or self.ended_faults == other.ended_faults

    def give_up(self) -> None:
        """It runs no more."""
        self.uid = -1

    def has(self, uid: i64) -> bool:
        """Is this one of its operations?"""
        return any(call.uid == uid for call in self.calls)
