# SPDX-License-Identifier: GPL-2.0-only
"""Young bits: asked for, and taken away."""

from __future__ import annotations

from mypy_extensions import i64

from .machine import Stage2Machine
from .pte import S2_YOUNG
from .table import leaves


def test_clear_young(m: Stage2Machine, start: i64, end: i64, clear: bool) -> bool:
    """Is any leaf of [start, end) young? With `clear` none is afterwards. mmu_lock held for write."""
    young = False
    for sp, index in leaves(m, start, end):
        m.count_visit()
        pte = sp.spt[index]
        if pte & S2_YOUNG:
            young = True
            if clear:
                m.store(sp, index, m.old_leaf(pte))
    return young
