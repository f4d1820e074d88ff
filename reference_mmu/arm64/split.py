# SPDX-License-Identifier: GPL-2.0-only
"""Eager splitting of blocks that log dirty pages (kvm_mmu_split_huge_pages() in arch/arm64/kvm/mmu.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..operations import MISHAP_NO_MEMORY
from ..stage2.pte import S2_YOUNG, is_leaf, make_table
from ..stage2.resched import need_resched
from ..stage2.table import find
from .machine import Arm64Machine
from .mmu import stage2_range_addr_end
from .pgtable import stage2_make_pte, stage2_try_break_pte
from .points import SPLIT_RELOCK


def kvm_mmu_split_huge_pages(m: Arm64Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """Split block by block, as far as there is memory for tables. mmu_lock held for write; it is given up to get some,
    so at the first block, and after each that was split."""
    while m.eager_page_split and start < end:
        if need_resched(m, start) or m.split_page_cache == 0:
            m.write_unlock()
            yield SPLIT_RELOCK
            if not m.failing(MISHAP_NO_MEMORY):
                m.split_page_cache = 1
            m.write_lock()
            if m.split_page_cache == 0:
                return
        yield from kvm_pgtable_stage2_split(m, start)
        start = stage2_range_addr_end(m, start, end)


def kvm_pgtable_stage2_split(m: Arm64Machine, gfn: i64) -> Generator[int, None, None]:
    """stage2_split_walker() for the block around gfn, if there is one: a table of young leaves with its rights comes in
    its place, by way of a break. mmu_lock held for write."""
    sp, index = find(m, gfn)
    block = sp.spt[index]
    if not is_leaf(block) or sp.level == 1:
        return
    m.split_page_cache -= 1
    child = m.alloc_table(sp.level - 1, gfn)
    for entry in range(m.entries):
        child.spt[entry] = m.part_of_block(block, entry, child.level) | S2_YOUNG
    yield from stage2_try_break_pte(m, sp, index, block)
    yield from stage2_make_pte(m, sp, index, make_table(child.pt))
