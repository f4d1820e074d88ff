# SPDX-License-Identifier: GPL-2.0-only
"""A lock that readers share and a writer has alone: mmu_lock, an rwlock_t, and mmap_lock, a rw_semaphore.

Waiting is the scheduler's business: an actor whose point wants a lock is not run until the lock is free (Kvm.can_run),
so the methods here never block; taking a lock that is not free is a bug of the flow.
"""

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr


class ModelBug(Exception):
    """A flow broke a rule of the model itself (not of KVM): the run means nothing."""


class Raised(ModelBug):
    """A flow of a changed model raised something else."""


@mypyc_attr(acyclic=True, free_list_len=1)
class RwLock:
    """`state` is -1 for a writer, else the number of readers; `held` the same of each actor: -1, 0 or 1."""

    def __init__(self, actors: i64, name: str = "mmu_lock") -> None:
        self.name: Final = name
        self.state: i64 = 0
        self.held: vec[i64] = vec[i64]([0] * actors)

    def can_read(self) -> bool:
        """Is it free for one more reader?"""
        return self.state >= 0

    def read_lock(self, actor: i64) -> None:
        if self.state < 0 or self.held[actor] != 0:
            raise ModelBug(f"read_lock: {self.name} not free")
        self.state += 1
        self.held[actor] = 1

    def read_unlock(self, actor: i64) -> None:
        if self.held[actor] != 1:
            raise ModelBug("read_unlock: not a reader")
        self.state -= 1
        self.held[actor] = 0

    def write_lock(self, actor: i64) -> None:
        if self.state != 0:
            raise ModelBug(f"write_lock: {self.name} not free")
        self.state = -1
        self.held[actor] = -1

    def write_unlock(self, actor: i64) -> None:
        if self.held[actor] != -1:
            raise ModelBug("write_unlock: not the writer")
        self.state = 0
        self.held[actor] = 0

    def downgrade(self, actor: i64) -> None:
        """downgrade_write(): the writer becomes a reader, and lets others in."""
        self.write_unlock(actor)
        self.read_lock(actor)
