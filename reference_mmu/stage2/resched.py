# SPDX-License-Identifier: GPL-2.0-only
"""Long walks that let others have mmu_lock."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..bits import bit_ull
from .machine import Stage2Machine


def cond_resched_lock(m: Stage2Machine, gfn: i64, more: bool, point: int) -> Generator[int, None, None]:
    """cond_resched_lock(), where mmu_lock is a rwlock cond_resched_rwlock_write(). Give it, held for write, to those
    who wait, if there is more to do and need_resched() is true at gfn."""
    if more and need_resched(m, gfn):
        m.write_unlock()
        yield point
        m.write_lock()


def need_resched(m: Stage2Machine, gfn: i64) -> bool:
    """Is it true in the region around gfn? The program says where, once for each operation."""
    bit = (gfn >> m.bits) & 31
    if (m.resched >> bit) & 1 == 0:
        return False
    m.resched &= ~bit_ull(bit)
    return True
