# SPDX-License-Identifier: GPL-2.0-only
"""Reading page tables and TLBs as an observer: no point, no A bit, no count."""

from __future__ import annotations

from mypy_extensions import i64

from reference_mmu.machine import Machine
from reference_mmu.page_table import KvmMmuPage
from reference_mmu.spte import is_last_spte, is_shadow_present_pte, spte_to_pfn
from reference_mmu.tlb import Vcpu

NO_LEAF: i64 = 0


def leaf_of(m: Machine, root: KvmMmuPage, gfn: i64) -> tuple[i64, i64]:
    """(SPTE, level) of the MMU-present leaf that maps gfn, (0, 0) if none."""
    sp = root
    while True:
        spte = sp.spt[m.spte_index(gfn, sp.level)]
        if not is_shadow_present_pte(spte):
            return 0, 0
        if is_last_spte(spte, sp.level):
            return spte, sp.level
        sp = m.page_tables[spte_to_pfn(spte)]


def pfn_in_leaf(m: Machine, spte: i64, level: i64, gfn: i64) -> i64:
    """The pfn a leaf gives to gfn."""
    return spte_to_pfn(spte) + (gfn & (m.pages_per_hpage(level) - 1))


def usable(m: Machine, vcpu: Vcpu) -> bool:
    """Can the vCPU use what it has cached? Not with an obsolete root and the request to drop it pending: it reloads,
    and flushes, before it enters."""
    root = vcpu.root
    if root is None:
        return False
    return not obsolete(m, root) or not vcpu.free_obsolete_roots


def obsolete(m: Machine, root: KvmMmuPage) -> bool:
    """Can nobody load this root any more?"""
    return root.invalid or (not root.tdp_mmu_page and root.mmu_valid_gen != m.mmu_valid_gen)


def entry_range(m: Machine, key: i64) -> tuple[i64, i64]:
    """[first gfn, end) of a TLB entry."""
    level = key & 7
    first = (key >> 3) << ((level - 1) * m.bits)
    return first, first + m.pages_per_hpage(level)


def roots_of(m: Machine) -> list[KvmMmuPage]:
    """Every root that exists, invalid ones included."""
    if m.tdp_mmu_enabled:
        return m.tdp_mmu_roots
    return [sp for sp in m.active_mmu_pages if sp.level == m.levels]


def tables_of(m: Machine) -> list[KvmMmuPage]:
    """Every page table that a root reaches."""
    tables = list(roots_of(m))
    for sp in tables:  # grows while it is walked
        for spte in sp.spt:
            if is_shadow_present_pte(spte) and not is_last_spte(spte, sp.level):
                tables.append(m.page_tables[spte_to_pfn(spte)])
    return tables
