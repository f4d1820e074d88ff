# SPDX-License-Identifier: GPL-2.0-only
"""Young bits: asked for, and taken away."""

from __future__ import annotations

from mypy_extensions import i64

from .machine import Stage2Machine
from .pte import S2_YOUNG, is_leaf
from .table import find, leaves


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


def is_young(m: Stage2Machine, gfn: i64) -> bool:
    """Is there a leaf of gfn, and is it young? mmu_lock held for write."""
    sp, index = find(m, gfn)
    pte = sp.spt[index]
    return is_leaf(pte) and pte & S2_YOUNG != 0
