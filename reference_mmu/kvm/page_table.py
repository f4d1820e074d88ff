# SPDX-License-Identifier: GPL-2.0-only
"""A page table that KVM makes for its guest, as far as it is the same everywhere."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from .locks import GracePeriod


@mypyc_attr(acyclic=True)
class PageTable:
    """One page table of a level, its entries in `spt`. It is known by its number, `pt`: an entry that points to a table
    has that in its pfn field. Tables and guest pages are numbered apart; an entry's level says which of them it is."""

    def __init__(self, pt: i64, level: i64, gfn: i64, entries: i64, nonpresent: i64) -> None:
        self.pt = pt
        self.level = level
        self.gfn = gfn  # first gfn it maps
        self.spt: vec[i64] = vec[i64]([nonpresent] * entries)
        # Life after unlinking.
        self.unlinked = False
        self.freed = False
        self.grace_period: GracePeriod | None = None  # what must pass before it is freed
