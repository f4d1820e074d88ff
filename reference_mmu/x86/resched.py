# SPDX-License-Identifier: GPL-2.0-only
"""Walks that hold mmu_lock for write give it up to those who wait (cond_resched_rwlock_write()).

The TDP MMU's iterator has rules of its own, see tdp_mmu_iter_cond_resched().
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..bits import bit_ull
from ..operations import RESCHED_LASTS
from .machine import Machine
from .points import ITER_RELOCK_W


def rwlock_needbreak(m: Machine, gfn: i64) -> bool:
    """need_resched() || rwlock_needbreak(): the program says in which regions, once each or all the time."""
    if m.resched == 0:
        return False
    bit = (gfn >> m.bits) & 31
    if (m.resched >> bit) & 1 == 0:
        return False
    use_up(m, bit)
    return True


def use_up(m: Machine, bit: i64) -> None:
    """Somebody has been let in at that region. Who waits may have to wait again."""
    if (m.resched & RESCHED_LASTS) == 0:
        m.resched &= ~bit_ull(bit)


def cond_resched_rwlock_write(m: Machine) -> Generator[int, None, None]:
    """Drop mmu_lock and take it again: whatever was read under it is void."""
    m.write_unlock()
    m.might_sleep()
    yield ITER_RELOCK_W
    m.write_lock()
