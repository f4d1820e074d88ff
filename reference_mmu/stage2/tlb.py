# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU caches of a stage-2 table, and the page walker that fills it.

The rules are those of x86/tlb.py, except

- the walker sets a young bit where the architecture's does (hardware_sets()); no entry is made from a leaf that
  misses one;
- a store that hits a read-only entry is a fault at once where faults_from_tlb() says so, and the entry stays: whoever
  handles the fault has to drop it;
- what a flush is, and whether it throws vCPUs out of the guest, is the architecture's. In either case a walk that was
  on its way is void.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..kvm.page_table import PageTable
from ..kvm.tlb import invalidate, lookup
from ..kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_R, TLB_W, KvmVcpu
from .fault import NO_FAULT, PERMISSION_FAULT, Fault
from .machine import Stage2Machine
from .points import WALK_FILL, WALK_LEAF, WALK_TABLE
from .pte import is_leaf, is_table, is_writable, pfn_of

# How a guest access, or one walk of it, ended.
DONE: Final = 0
FILLED: Final = 1
FAULTED: Final = 2
FLUSHED: Final = 3  # a flush came in between: begin again


def hardware_access(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, int]:
    """One guest load or store, through the TLB. Returns DONE, FAULTED (`fault` says why) or FLUSHED."""
    exits = vcpu.exits
    while True:
        entry = lookup(m, vcpu, fault.gfn)
        if entry != 0:
            if (not fault.write or (entry & TLB_W) != 0) and not cannot_fetch(m, entry >> TLB_PFN_SHIFT, fault):
                m.guest_access(vcpu, fault.gfn, entry >> TLB_PFN_SHIFT, fault.write)
                return DONE
            if m.faults_from_tlb():
                fault.kind = PERMISSION_FAULT
                fault.level = cached_level(m, vcpu, fault.gfn)
                return FAULTED
            invalidate(m, vcpu, fault.gfn)
        result = yield from walk(m, vcpu, fault)
        if result != FILLED:
            return result
        yield WALK_FILL
        if vcpu.exits != exits:
            return FLUSHED


def cannot_fetch(m: Stage2Machine, pfn: i64, fault: Fault) -> bool:
    """Is it a fetch, and the page such that no entry allows that?"""
    return fault.fetch and not m.may_execute(pfn)


def cached_level(m: Stage2Machine, vcpu: KvmVcpu, gfn: i64) -> i64:
    """The size of the entry that lookup() found."""
    level: i64 = 1
    while vcpu.tlb.get(m.tlb_key(gfn, level)) < 0:
        level += 1
    return level


def walk(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, int]:
    """Walk the table and fill the TLB. Returns FILLED, FAULTED or FLUSHED."""
    exits = vcpu.exits
    sp = walk_start(m, vcpu, fault.gfn)
    while True:
        yield WALK_LEAF if sp.level == 1 else WALK_TABLE
        if vcpu.exits != exits:
            return FLUSHED
        if sp.freed:
            # What is there now may be anything; that is told, and the walk begins again without it.
            m.oracle.walked_freed_table(m, vcpu, sp, fault.gfn)
            vcpu.structure_cache.clear()
            return FLUSHED
        pte = sp.spt[m.spte_index(fault.gfn, sp.level)]
        if not is_table(pte):
            break
        sp = m.child(pte)
        if m.table_walk_is_cached():
            vcpu.structure_cache.put(m.table_key(fault.gfn, sp.level), sp.pt)
    fault.kind = m.hardware_fault(pte, fault.write)
    fault.level = sp.level if is_leaf(pte) else 0
    if fault.kind == NO_FAULT and cannot_fetch(m, pfn_of(pte), fault):
        fault.kind = PERMISSION_FAULT
    if fault.kind != NO_FAULT:
        return FAULTED
    fill(m, vcpu, sp, fault)
    return FILLED


def walk_start(m: Stage2Machine, vcpu: KvmVcpu, gfn: i64) -> PageTable:
    """The lowest table the CPU has a cached pointer to, else the root."""
    if vcpu.structure_cache.n != 0:
        for level in range(1, m.root.level):
            cached = vcpu.structure_cache.get(m.table_key(gfn, level))
            if cached >= 0:
                return m.page_tables[cached]
    return m.root


def fill(m: Stage2Machine, vcpu: KvmVcpu, sp: PageTable, fault: Fault) -> None:
    """Set what hardware sets in the leaf and cache it: one atomic read-modify-write."""
    index = m.spte_index(fault.gfn, sp.level)
    pte = m.hardware_sets(sp.spt[index], fault.write)
    sp.spt[index] = pte
    rights: i64 = TLB_R | TLB_D | TLB_W if is_writable(pte) else TLB_R | TLB_D
    vcpu.tlb.put(m.tlb_key(fault.gfn, sp.level), rights | pfn_of(pte) << TLB_PFN_SHIFT)
