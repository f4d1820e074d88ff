# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU caches, and the page walker that fills it.

A missed flush is visible only here: the oracles look at these entries, never at whether a flush function was called.
Rules (Intel SDM vol. 3, "Caching Translation Information"; AMD APM vol. 2, "TLB Management"):

T1  Entries are made from present entries only, one table at a time: each level is a separate read, and a walk may
    start from a cached table pointer instead of the root. What an upper level forbids no leaf allows; a pointer that
    was reached without W is not cached.
T2  A fill sets A in the leaf. Non-present, frozen, MMIO and access-tracked entries are never cached.
T3  A write needs W in the entry. With D=0 in the entry the walker goes back, the leaf must still be writable, and
    sets D there (logging the gfn when PML is on). With D=1 nothing in memory is touched. An entry that the walker has
    gone back for is not used for the write again, should the leaf be of another size by now.
T4  A hit never looks at the SPTE again. 4K and 2M entries of one gfn may coexist. Eviction is free at any time.
T5  A write on a read-only entry drops the CPU's own entries for the address and walks again.
T6  A fault drops the faulting CPU's own entries for that address, cached table pointers included, nobody else's.
T7  A remote flush ends when every vCPU that was in guest mode has left it; until then entries may be used.
T8  Changing an SPTE or freeing a table does nothing to entries already made.

Pages are named as the root translates them: `gfn` is a guest frame of a direct MMU, but a virtual page where the root
shadows page tables of the guest. Those tables the hardware does not know.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..kvm.tlb import invalidate, lookup
from ..kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_R, TLB_W
from .machine import Machine
from .page_table import KvmMmuPage
from .points import WALK_DIRTY, WALK_FILL, WALK_LEAF, WALK_TABLE
from .spte import PG_LEVEL_4K, PT_WRITABLE_MASK, hw_present, is_last_spte, spte_to_pfn
from .vcpu_arch import Vcpu

# How a guest access, or one walk of it, ended.
DONE: Final = 0
FILLED: Final = 1
VIOLATION: Final = 2  # EPT violation / nested page fault
PML_FULL: Final = 3
KICKED: Final = 4  # forced out of guest mode by a request


def hardware_access(m: Machine, vcpu: Vcpu, gfn: i64, write: bool) -> Generator[int, None, int]:
    """One guest load or store: through the TLB, walking as often as the rules demand. Returns DONE, VIOLATION,
    PML_FULL or KICKED."""
    exits = vcpu.exits
    clean: i64 = 0
    while True:
        entry = lookup(m, vcpu, gfn)
        if entry != 0:
            if not write or (entry & (TLB_W | TLB_D)) == (TLB_W | TLB_D):
                m.guest_access(vcpu, gfn, entry >> TLB_PFN_SHIFT, write)
                return DONE
            if (entry & TLB_W) != 0:  # T3
                if entry == clean:
                    invalidate(m, vcpu, gfn)
                clean = entry
                yield WALK_DIRTY
                if vcpu.exits != exits:
                    return KICKED
            else:  # T5
                invalidate(m, vcpu, gfn)
        result = yield from walk(m, vcpu, gfn, write)
        if result != FILLED:
            return result
        yield WALK_FILL
        if vcpu.exits != exits:
            return KICKED


def walk(m: Machine, vcpu: Vcpu, gfn: i64, write: bool) -> Generator[int, None, int]:
    """Walk the page tables and fill the TLB. Returns FILLED, VIOLATION, PML_FULL or KICKED."""
    exits = vcpu.exits
    table = walk_start(m, vcpu, gfn)
    level = table.level
    writable: i64 = PT_WRITABLE_MASK
    while True:
        yield WALK_LEAF if level == PG_LEVEL_4K else WALK_TABLE
        if vcpu.exits != exits:
            return KICKED
        if table.freed:
            m.oracle.walked_freed_table(m, vcpu, table, gfn)
            return KICKED
        spte = table.spt[m.spte_index(gfn, level)]
        if not hw_present(m.masks, spte):
            vcpu.fault_present = False
            return VIOLATION
        writable &= spte
        if is_last_spte(spte, level):
            break
        table = m.page_tables[spte_to_pfn(spte)]
        level -= 1
        if writable != 0:
            vcpu.structure_cache.put(m.table_key(gfn, level), table.pt)
    if write and writable == 0:
        vcpu.fault_present = True
        return VIOLATION
    return fill(m, vcpu, table, gfn, write, writable != 0)


def walk_start(m: Machine, vcpu: Vcpu, gfn: i64) -> KvmMmuPage:
    """T1: the lowest table the CPU has a cached pointer to, else the root."""
    root = vcpu.root
    assert root is not None
    if vcpu.structure_cache.n != 0:
        for level in range(1, root.level):
            cached = vcpu.structure_cache.get(m.table_key(gfn, level))
            if cached >= 0:
                return m.page_tables[cached]
    return root


def fill(m: Machine, vcpu: Vcpu, table: KvmMmuPage, gfn: i64, write: bool, writable: bool) -> int:
    """Set A, for a write D, in the leaf and cache it: one atomic read-modify-write."""
    masks = m.masks
    level = table.level
    index = m.spte_index(gfn, level)
    spte = table.spt[index]
    entry: i64 = TLB_R
    if masks.hardware_ad and not table.ad_disabled:
        new = spte | masks.hw_accessed
        if write and (spte & masks.hw_dirty) == 0:
            if vcpu.pml_enabled and not vcpu.guest_mode:
                if len(vcpu.pml_buffer) >= m.pml_entries:
                    return PML_FULL
                vcpu.pml_buffer.append(gfn)
                m.count_pml()
            new |= masks.hw_dirty
        if new != spte:
            table.spt[index] = new
        if (new & masks.hw_dirty) != 0:
            entry |= TLB_D
    else:
        entry |= TLB_D
    if writable:
        entry |= TLB_W
    vcpu.tlb.put(m.tlb_key(gfn, level), entry | (spte_to_pfn(spte) << TLB_PFN_SHIFT))
    return FILLED
