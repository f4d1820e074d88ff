# SPDX-License-Identifier: GPL-2.0-only
"""The fast path of LoongArch (kvm_map_page_fast() in arch/loongarch/kvm/mmu.c): an entry that is there, and old or
clean."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.pfn import NO_PAGE
from ..kvm.release import kvm_pfn_to_refcounted_page, kvm_set_pfn_accessed, kvm_set_pfn_dirty
from ..stage2.fault import Fault
from ..stage2.machine import Stage2Machine
from ..stage2.points import FAST_LOCK, FAST_MARK
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf, pfn_of
from ..stage2.table import find
from .points import FAST_LOG


def kvm_map_page_fast(m: Stage2Machine, fault: Fault) -> Generator[int, None, bool]:
    """Make the entry young, and dirty for a write. False if that is not enough (-EFAULT): then it is as it was."""
    yield FAST_LOCK
    m.write_lock()
    sp, index = find(m, fault.gfn)
    old = sp.spt[index]
    if not is_leaf(old) or not may_become(m, fault, old, sp.level):
        m.write_unlock()
        return False
    new = old | S2_YOUNG | S2_WRITE if fault.write else old | S2_YOUNG
    changed = old ^ new
    page = NO_PAGE
    if changed != 0:
        m.store(sp, index, new)
        if not m.sem.loongarch_accessed_slow_path_only:
            page = get_refcounted_page(m, pfn_of(new))
    if changed & S2_WRITE:
        m.unlogged.append(int(fault.gfn))
    m.write_unlock()
    if changed != 0:
        yield from marks_after_unlock(m, fault, pfn_of(new), page, changed)
    return True


def may_become(m: Stage2Machine, fault: Fault, pte: i64, level: i64) -> bool:
    """Can the entry be made dirty, if it has to? A huge one of a slot that logs cannot: it is to be split first."""
    if not fault.write or pte & S2_WRITE:
        return True
    if not pte & S2_MAY_WRITE:
        return False
    slot = m.gfn_to_memslot(fault.gfn) if level > 1 else None
    return slot is None or not slot.log_dirty_pages


def get_refcounted_page(m: Stage2Machine, pfn: i64) -> i64:
    """get_page() of the page that is guessed from the pfn, NO_PAGE if it has none. mmu_lock held."""
    page = kvm_pfn_to_refcounted_page(m, pfn)
    if page != NO_PAGE:
        m.host.get(page)
        m.page_taken(page, False)
    return page


def marks_after_unlock(m: Stage2Machine, fault: Fault, pfn: i64, page: i64, changed: i64) -> Generator[int, None, None]:
    """From mmu_lock on: what the entry became, told to page and log. The page that was taken is put last, or before the
    log as soon as that is all that is told."""
    log_alone = m.sem.loongarch_dirty_slow_path_only
    if not m.sem.loongarch_accessed_slow_path_only:
        yield FAST_MARK
        if changed & S2_YOUNG:
            kvm_set_pfn_accessed(m, pfn)
        if log_alone:
            put(m, page)
    if changed & S2_WRITE:
        yield FAST_LOG
        log(m, fault)
        if not log_alone:
            kvm_set_pfn_dirty(m, pfn)
    if not log_alone:
        put(m, page)


def put(m: Stage2Machine, page: i64) -> None:
    """put_page() of what get_refcounted_page() took."""
    if page != NO_PAGE:
        m.kvm_put_page(page)


def log(m: Stage2Machine, fault: Fault) -> None:
    """mark_page_dirty()"""
    slot = m.gfn_to_memslot(fault.gfn)
    if slot is not None:
        m.mark_page_dirty_in_slot(slot, fault.gfn)
    m.unlogged.remove(int(fault.gfn))
