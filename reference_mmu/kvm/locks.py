# SPDX-License-Identifier: GPL-2.0-only
"""mmu_lock, slots_lock, SRCU and RCU of one machine.

Waiting is the scheduler's business: an actor whose point wants a lock is not run until the lock is free
(Machine.can_run), so the methods here never block; taking a lock that is not free is a bug of the flow.
"""

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr


class ModelBug(Exception):
    """A flow broke a rule of the model itself (not of KVM): the run means nothing."""


@mypyc_attr(acyclic=True, free_list_len=1)
class RwLock:
    """mmu_lock, an rwlock_t; `state` is -1 for a writer, else the number of readers."""

    def __init__(self, actors: i64) -> None:
        self.state: i64 = 0
        self.held: vec[i64] = vec[i64]([0] * actors)

    def read_lock(self, actor: i64) -> None:
        if self.state < 0 or self.held[actor] != 0:
            raise ModelBug("read_lock: mmu_lock not free")
        self.state += 1
        self.held[actor] = 1

    def read_unlock(self, actor: i64) -> None:
        if self.held[actor] != 1:
            raise ModelBug("read_unlock: not a reader")
        self.state -= 1
        self.held[actor] = 0

    def write_lock(self, actor: i64) -> None:
        if self.state != 0:
            raise ModelBug("write_lock: mmu_lock not free")
        self.state = -1
        self.held[actor] = -1

    def write_unlock(self, actor: i64) -> None:
        if self.held[actor] != -1:
            raise ModelBug("write_unlock: not the writer")
        self.state = 0
        self.held[actor] = 0


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
