# SPDX-License-Identifier: GPL-2.0-only
"""G-stage tables as arch/riscv/kvm/mmu.c changes them. mmu_lock is a spinlock, and held.

Tables are made and never freed, except with the machine. Every leaf that is stored, protected or cleared is fenced at
once: the vCPUs are thrown out of the guest and drop what they have of it (kvm_riscv_hfence_gvma_vmid_gpa()).
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.page_table import PageTable
from ..kvm.vcpu import KvmVcpu
from ..mm.errno import EEXIST, ENOMEM
from ..operations import MISHAP_NO_MEMORY
from ..stage2.flush import flush_remote_range
from ..stage2.machine import Stage2Machine
from ..stage2.memory_cache import kvm_mmu_memory_cache_alloc
from ..stage2.pte import is_leaf, is_table
from ..stage2.resched import cond_resched_lock
from ..stage2.table import find
from .points import MAP_FENCE, UNMAP_FENCE, UNMAP_RELOCK, WP_FENCE


def gstage_remote_tlb_flush(m: Stage2Machine, sp: PageTable, index: i64, point: int) -> Generator[int, None, None]:
    """What an entry maps, or mapped, is dropped by all."""
    first, end = m.leaf_gfns(sp, index, sp.spt[index])
    yield from flush_remote_range(m, first, end, point)


def gstage_set_pte(m: Stage2Machine, vcpu: KvmVcpu, level: i64, gfn: i64, new: i64) -> Generator[int, None, i64]:
    """Install the leaf `new`, whatever is there. Returns 0, -EEXIST if a bigger leaf covers gfn, -ENOMEM if a table is
    missing and there is no page for one (which nothing but an injected failure shows: the cache is topped up). A table
    in whose place a huge leaf comes is forgotten, and never freed."""
    sp = m.root
    while sp.level != level:
        index = m.spte_index(gfn, sp.level)
        pte = sp.spt[index]
        if is_leaf(pte):
            return -EEXIST
        if not is_table(pte):
            if m.failing(MISHAP_NO_MEMORY):
                return -ENOMEM
            kvm_mmu_memory_cache_alloc(m, vcpu)
            m.link_table(sp, index, m.alloc_table(sp.level - 1, gfn))
        sp = m.child(sp.spt[index])
    index = m.spte_index(gfn, level)
    old = sp.spt[index]
    if is_table(old):
        m.unlink(m.child(old))
    m.store(sp, index, new)
    yield from gstage_remote_tlb_flush(m, sp, index, MAP_FENCE)
    return 0


def gstage_unmap_range(m: Stage2Machine, start: i64, end: i64, may_block: bool) -> Generator[int, None, None]:
    """Clear the leaves of [start, end). Wherever the walk ends it goes on by the size that it ended at, from gfn and
    not from the start of the entry: of what follows a hole, or a huge leaf, that was entered in the middle, the
    beginning is passed over."""
    gfn = start
    while gfn < end:
        sp, index = find(m, gfn)
        size = m.pages_per_hpage(sp.level)
        if is_leaf(sp.spt[index]) and gfn & (size - 1) == 0 and end - gfn >= size:
            m.store(sp, index, 0)
            yield from gstage_remote_tlb_flush(m, sp, index, UNMAP_FENCE)
        gfn += size
        if may_block:
            yield from cond_resched_lock(m, gfn - 1, gfn < end, UNMAP_RELOCK)


def gstage_wp_range(m: Stage2Machine, start: i64, end: i64) -> Generator[int, None, bool]:
    """Take the right to write from the leaves of [start, end), by steps as gstage_unmap_range() makes them; leaves that
    have none are fenced, too. Returns whether any had."""
    changed = False
    gfn = start
    while gfn < end:
        sp, index = find(m, gfn)
        pte = sp.spt[index]
        size = m.pages_per_hpage(sp.level)
        if is_leaf(pte) and gfn & (size - 1) == 0 and end - gfn >= size:
            changed = changed or pte != m.write_protected(pte)
            m.store(sp, index, m.write_protected(pte))
            yield from gstage_remote_tlb_flush(m, sp, index, WP_FENCE)
        gfn += size
    return changed
