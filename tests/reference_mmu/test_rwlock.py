# SPDX-License-Identifier: GPL-2.0-only
"""A lock that readers share: who may hold it together with whom."""

import pytest

from reference_mmu.rwlock import ModelBug, RwLock

ACTORS = 4


def test_readers_hold_it_together_and_a_writer_alone() -> None:
    lock = RwLock(ACTORS)
    lock.read_lock(0)
    lock.read_lock(2)
    assert (lock.state, list(lock.held)) == (2, [1, 0, 1, 0])
    with pytest.raises(ModelBug, match=r"^write_lock: mmu_lock not free$"):
        lock.write_lock(1)
    lock.read_unlock(0)
    lock.read_unlock(2)
    lock.write_lock(1)
    assert (lock.state, list(lock.held)) == (-1, [0, -1, 0, 0])
    with pytest.raises(ModelBug, match=r"^read_lock: mmu_lock not free$"):
        lock.read_lock(0)
    lock.write_unlock(1)
    assert (lock.state, list(lock.held)) == (0, [0] * ACTORS)


def test_who_does_not_hold_it_cannot_let_go() -> None:
    lock = RwLock(ACTORS)
    lock.read_lock(0)
    with pytest.raises(ModelBug, match=r"^read_unlock: not a reader$"):
        lock.read_unlock(1)
    with pytest.raises(ModelBug, match=r"^write_unlock: not the writer$"):
        lock.write_unlock(0)
    with pytest.raises(ModelBug, match=r"^read_lock: mmu_lock not free$"):
        lock.read_lock(0)


def test_a_writer_becomes_a_reader_and_lets_others_in() -> None:
    lock = RwLock(ACTORS, "mmap_lock")
    lock.write_lock(1)
    assert not lock.can_read()
    lock.downgrade(1)
    assert lock.can_read()
    lock.read_lock(0)
    assert (lock.state, list(lock.held)) == (2, [1, 1, 0, 0])
    with pytest.raises(ModelBug, match=r"^write_lock: mmap_lock not free$"):
        lock.write_lock(2)
    with pytest.raises(ModelBug, match=r"^write_unlock: not the writer$"):
        lock.downgrade(0)
