# SPDX-License-Identifier: GPL-2.0-only
"""SRCU and RCU of one machine. Nobody blocks here either, see rwlock.py: waiting is the scheduler's business."""

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from ..rwlock import ModelBug


@mypyc_attr(acyclic=True)
class GracePeriod:
    """`inside`: by actor, the read-side section that it was in when the grace period started, 0: none."""

    def __init__(self, inside: vec[i64]) -> None:
        self.inside = inside


@mypyc_attr(acyclic=True)
class ReadSections:
    """SRCU or RCU: which actors are in a read-side section, told apart by a number that never repeats."""

    def __init__(self, actors: i64) -> None:
        self.n = actors
        self.next: i64 = 0
        self.inside: vec[i64] = vec[i64]([0] * actors)

    def lock(self, actor: i64) -> None:
        if self.inside[actor] != 0:
            raise ModelBug("read section entered twice")
        self.next += 1
        self.inside[actor] = self.next

    def unlock(self, actor: i64) -> None:
        if self.inside[actor] == 0:
            raise ModelBug("read section left twice")
        self.inside[actor] = 0

    def start_grace_period(self) -> GracePeriod:
        """One that waits for the sections in progress now."""
        return GracePeriod(self.inside[:])

    def passed(self, grace_period: GracePeriod | None) -> bool:
        """Has every section ended that was in progress when it started? None: nobody waits."""
        if grace_period is None:
            return True
        for actor in range(self.n):
            token = grace_period.inside[actor]
            if token != 0 and self.inside[actor] == token:
                return False
        return True
