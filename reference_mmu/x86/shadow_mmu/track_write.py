# SPDX-License-Identifier: GPL-2.0-only
"""The emulator wrote for the guest: shadow pages of the page it wrote to follow (kvm_mmu_track_write() in mmu.c)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..machine import Machine
from ..page_table import KvmMmuPage
from ..points import PTE_WRITE_FLUSH, PTE_WRITE_LOCK, PTE_WRITE_REQUEST, PTE_WRITE_ZAP
from ..spte import PG_LEVEL_4K, is_last_spte, is_shadow_present_pte, spte_to_pfn
from ..vcpu_arch import Vcpu
from .shadow_page import kvm_mmu_remote_flush_or_zap, mmu_page_zap_pte, zap_page_or_root
from .unsync import valid_sps_with_gptes

WRITE_FLOODING: Final[i64] = 3


def kvm_mmu_track_write(m: Machine, gfn: i64, index: i64) -> Generator[int, None, None]:
    """Entry `index` of the table at gfn has been written (-1: some word that is no entry): zap the SPTEs made from it.
    The next fault reads the new entry."""
    # The store came first, see account_shadowed().
    if m.indirect_shadow_pages == 0:
        m.oracle.gpte_write_emulated(m, gfn, index)
        return
    yield PTE_WRITE_LOCK
    m.write_lock()
    invalid_list: list[KvmMmuPage] = []
    flush = False
    for sp in valid_sps_with_gptes(m, gfn):
        if detect_write_flooding(sp):
            yield from zap_page_or_root(m, sp, invalid_list, PTE_WRITE_REQUEST)
            continue
        if index >= 0 and is_shadow_present_pte(sp.spt[index]):
            yield PTE_WRITE_ZAP
            mmu_page_zap_pte(m, sp, index, None)
            flush = True
    yield from kvm_mmu_remote_flush_or_zap(m, invalid_list, flush, PTE_WRITE_FLUSH)
    m.oracle.gpte_write_emulated(m, gfn, index)
    m.write_unlock()


def shadow_page_table_clear_flood(m: Machine, vcpu: Vcpu, addr: i64) -> None:
    """The vCPU got to `addr` by these shadow pages, so they are in use. Lockless, and it changes no SPTE: no point."""
    sp = vcpu.root
    while sp is not None:
        sp.write_flooding_count = 0
        spte = sp.spt[m.spte_index(addr, sp.level)]
        if not is_shadow_present_pte(spte) or is_last_spte(spte, sp.level):
            return
        sp = m.page_tables[spte_to_pfn(spte)]


def detect_write_flooding(sp: KvmMmuPage) -> bool:
    """Written again and again without being walked: probably no page table any more. A 4K table becomes unsync
    instead."""
    if sp.level == PG_LEVEL_4K:
        return False
    sp.write_flooding_count += 1
    return sp.write_flooding_count >= WRITE_FLOODING
