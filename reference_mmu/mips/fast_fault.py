# SPDX-License-Identifier: GPL-2.0-only
"""The fast path of MIPS (_kvm_mips_map_page_fast() in arch/mips/kvm/mmu.c): an entry that is old or clean."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.pfn import NO_PAGE
from ..kvm.release import kvm_set_pfn_accessed, kvm_set_pfn_dirty
from ..stage2.fault import Fault
from ..stage2.machine import Stage2Machine
from ..stage2.points import FAST_LOCK, FAST_MARK
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf, pfn_of
from ..stage2.table import find


def kvm_mips_map_page_fast(m: Stage2Machine, fault: Fault) -> Generator[int, None, bool]:
    """Make the entry young, and dirty for a write. False if that is not enough (-EFAULT): young it is even so. What was
    old is marked, in either case, when mmu_lock has been released, by a pfn that nobody holds any more."""
    yield FAST_LOCK
    m.write_lock()
    sp, index = find(m, fault.gfn)
    pte = sp.spt[index]
    done = is_leaf(pte)
    made_young = NO_PAGE
    if done and not pte & S2_YOUNG:
        pte |= S2_YOUNG
        m.store(sp, index, pte)
        made_young = pfn_of(pte)
    if done and fault.write and not pte & S2_WRITE:
        done = pte & S2_MAY_WRITE != 0
        if done:
            m.store(sp, index, pte | S2_WRITE)
            log_dirtied(m, fault.gfn, pfn_of(pte))
    m.write_unlock()
    if not m.sem.mips_accessed_slow_path_only:
        yield FAST_MARK
        if made_young != NO_PAGE:
            kvm_set_pfn_accessed(m, made_young)
    return done


def log_dirtied(m: Stage2Machine, gfn: i64, pfn: i64) -> None:
    """An entry has turned dirty. mmu_lock held."""
    slot = m.gfn_to_memslot(gfn)  # mark_page_dirty()
    if slot is not None:
        m.mark_page_dirty_in_slot(slot, gfn)
    if not m.sem.mips_dirty_slow_path_only:
        kvm_set_pfn_dirty(m, pfn)
