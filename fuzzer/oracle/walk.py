# SPDX-License-Identifier: GPL-2.0-only
"""Reading page tables and TLBs as an observer: no point, no A bit, no count."""

from __future__ import annotations

from mypy_extensions import i64

from reference_mmu.kvm.memslots import search_memslots
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import is_last_spte, is_shadow_present_pte, spte_to_pfn
from reference_mmu.x86.tlb import TLB_PFN_SHIFT, Vcpu


def leaf_of(m: Machine, root: KvmMmuPage, gfn: i64) -> tuple[i64, i64]:
    """(SPTE, level) of the MMU-present leaf that maps gfn (a virtual page of an indirect MMU), (0, 0) if none."""
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
    if root is m.dummy_root:
        return False  # no shadow page; it goes with the next request
    return root.invalid or (not root.tdp_mmu_page and root.mmu_valid_gen != m.mmu_valid_gen)


def entry_range(m: Machine, key: i64) -> tuple[i64, i64]:
    """[first page, end) of a TLB entry: gfns, or virtual pages where the MMU is indirect."""
    level = key & 7
    first = (key >> 3) << ((level - 1) * m.bits)
    return first, first + m.pages_per_hpage(level)


def entry_gfns(m: Machine, key: i64, entry: i64) -> tuple[i64, i64]:
    """[first gfn, end) that a TLB entry gives access to. An indirect MMU's is known by the page: two slots never share
    one."""
    if m.root_role_direct:
        return entry_range(m, key)
    gfn = m.gfn_of_hva(m.host.pages[entry >> TLB_PFN_SHIFT].hva)
    return gfn, gfn + 1


def can_use(m: Machine, vcpu: Vcpu, first: i64, end: i64, rights: i64 = 0) -> bool:
    """Has the vCPU an entry that it can use, and that gives all these rights to a gfn of [first, end)?"""
    if vcpu.tlb.n == 0 or not usable(m, vcpu):
        return False
    for at in range(vcpu.tlb.n):
        entry = vcpu.tlb.values[at]
        if entry & rights == rights:
            start, stop = entry_gfns(m, vcpu.tlb.keys[at], entry)
            if start < end and first < stop:
                return True
    return False


def leaf_gfns(m: Machine, sp: KvmMmuPage, index: i64, spte: i64) -> tuple[i64, i64]:
    """[first gfn, end) that a leaf maps, or an entry of a direct page whatever it is."""
    if sp.direct:
        pages = m.pages_per_hpage(sp.level)
        return sp.gfn + index * pages, sp.gfn + (index + 1) * pages
    gfn = m.gfn_of_hva(m.host.pages[spte_to_pfn(spte)].hva)
    return gfn, gfn + 1


def reach(m: Machine, sp: KvmMmuPage, index: i64) -> tuple[i64, i64]:
    """[first page, end) whose TLB entries may come from an entry. An indirect page can be linked anywhere."""
    if not sp.direct:
        return 0, m.pages_per_hpage(m.levels + 1)
    pages = m.pages_per_hpage(sp.level)
    return sp.gfn + index * pages, sp.gfn + (index + 1) * pages


def pages_of(m: Machine) -> list[int]:
    """What the guest can name: gfns in memslots, or all virtual pages."""
    if not m.root_role_direct:
        return list(range(m.pages_per_hpage(m.levels + 1)))
    return [gfn for slot in m.memslots for gfn in range(slot.base_gfn, slot.end_gfn())]


def hva_of_gfn(m: Machine, gfn: i64) -> i64:
    """The host page of a gfn, -1 where no memslot is valid."""
    slot = search_memslots(m, gfn)
    return -1 if slot is None or slot.invalid else slot.hva + gfn - slot.base_gfn


def pages_mapping(m: Machine, root: KvmMmuPage, gfns: list[int]) -> list[int]:
    """Through which pages a root may map these gfns: themselves, or virtual pages."""
    if m.root_role_direct:
        return gfns
    pages = []
    for addr in pages_of(m):
        spte, level = leaf_of(m, root, addr)
        if level != 0 and m.gfn_of_hva(m.host.pages[spte_to_pfn(spte)].hva) in gfns:
            pages.append(addr)
    return pages


def maps_gfn(m: Machine, root: KvmMmuPage, first: i64, end: i64) -> bool:
    """Does a root map a gfn of [first, end)?"""
    if m.root_role_direct:
        return any(leaf_of(m, root, gfn)[1] != 0 for gfn in range(first, end))
    for addr in pages_of(m):
        spte, level = leaf_of(m, root, addr)
        if level != 0 and first <= m.gfn_of_hva(m.host.pages[spte_to_pfn(spte)].hva) < end:
            return True
    return False


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
