# SPDX-License-Identifier: GPL-2.0-only
"""Walks of a stage-2 table by whoever holds mmu_lock for write: find, list, map, unmap.

An architecture with a walker of its own, such as arm64's lockless one, has these in its own room.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.page_table import PageTable
from .machine import Stage2Machine
from .pte import is_leaf, is_table


def find(m: Stage2Machine, gfn: i64, level: i64 = 1) -> tuple[PageTable, i64]:
    """Table and index of the entry for `gfn` at `level`, or of the one above it where the walk ends."""
    sp = m.root
    while True:
        index = m.spte_index(gfn, sp.level)
        pte = sp.spt[index]
        if sp.level == level or not is_table(pte):
            return sp, index
        sp = m.child(pte)


def leaves(m: Stage2Machine, start: i64, end: i64) -> list[tuple[PageTable, i64]]:
    """Table and index of every leaf that maps a gfn of [start, end), in the order of gfns."""
    found: list[tuple[PageTable, i64]] = []
    add_leaves(m, m.root, start, end, found)
    return found


def add_leaves(m: Stage2Machine, sp: PageTable, start: i64, end: i64, found: list[tuple[PageTable, i64]]) -> None:
    pages = m.pages_per_hpage(sp.level)
    for index in range(max(0, (start - sp.gfn) // pages), min(m.entries, (end - sp.gfn + pages - 1) // pages)):
        pte = sp.spt[index]
        if is_leaf(pte):
            found.append((sp, index))
        elif is_table(pte):
            add_leaves(m, m.child(pte), start, end, found)


def walk_to(m: Stage2Machine, gfn: i64, level: i64) -> tuple[PageTable, i64]:
    """Table and index of the entry for `gfn` at `level`; tables that are missing on the way are made. The walk ends
    above `level` at a block, which only the architecture knows what to do with."""
    while True:
        sp, index = find(m, gfn, level)
        if sp.level == level or is_leaf(sp.spt[index]):
            return sp, index
        m.link_table(sp, index, m.alloc_table(sp.level - 1, gfn))


def split(m: Stage2Machine, sp: PageTable, index: i64) -> PageTable:
    """Replace a block by a table of leaves with the same bits, which translates alike: nothing has to be flushed."""
    block = sp.spt[index]
    child = m.alloc_table(sp.level - 1, sp.gfn + index * m.pages_per_hpage(sp.level))
    for entry in range(m.entries):
        child.spt[entry] = m.part_of_block(block, entry, child.level)
    m.link_table(sp, index, child)
    return child


def unmap(m: Stage2Machine, start: i64, end: i64) -> Generator[int, None, bool]:
    """Take every leaf away that maps a gfn of [start, end), blocks as a whole; tables stay. Returns whether the caller
    owes a flush."""
    flush = False
    for sp, index in leaves(m, start, end):
        owed = yield from m.unmap_leaf(sp, index)
        flush = flush or owed
    return flush
