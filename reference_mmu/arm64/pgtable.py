# SPDX-License-Identifier: GPL-2.0-only
"""Stage-2 tables as kvm_pgtable_walk() and its visitors change them (arch/arm64/kvm/hyp/pgtable.c).

Faults are *shared* walks: they hold mmu_lock for read and RCU, and change an entry by cmpxchg.  A valid entry may only
become another one by way of an invalid one and a TLBI (break before make), during which it is LOCKED: whoever meets it,
or loses a cmpxchg, returns -EAGAIN.  All other walks hold mmu_lock for write.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.page_table import PageTable
from ..kvm.vcpu import KvmVcpu
from ..mm.errno import EAGAIN
from ..stage2.machine import Stage2Machine
from ..stage2.memory_cache import kvm_mmu_memory_cache_alloc
from ..stage2.pte import S2_LOCKED, S2_PERMS, S2_VALID, S2_YOUNG, is_leaf, is_table, make_table
from ..stage2.table import find
from .points import ACCESS_SET, MAP_BREAK, MAP_MAKE, MAP_TLBI, RELAX_SET, RELAX_TLBI, UNMAP_TABLE, UNMAP_TLBI
from .tlb import kvm_tlb_flush_vmid_ipa_nsh, kvm_tlb_flush_vmid_range


def kvm_pgtable_stage2_map(
    m: Stage2Machine, vcpu: KvmVcpu, gfn: i64, level: i64, new: i64
) -> Generator[int, None, i64]:
    """Install the leaf `new` for gfn at `level`, in a shared walk; tables come from the cache of the vCPU. Returns 0 or
    -EAGAIN."""
    m.rcu_read_lock()
    ret = yield from map_walk(m, vcpu, gfn, level, new)
    m.rcu_read_unlock()
    return ret


def map_walk(m: Stage2Machine, vcpu: KvmVcpu, gfn: i64, level: i64, new: i64) -> Generator[int, None, i64]:
    """stage2_map_walker(), down to the leaf."""
    sp = m.root
    while True:
        index = m.spte_index(gfn, sp.level)
        old = sp.spt[index]
        if sp.level == level:
            ret = yield from stage2_map_walker_try_leaf(m, sp, index, old, new)
            if ret == 0 and is_table(old):
                free_unlinked_table(m, m.child(old))
            return ret
        if not is_table(old):
            ret = yield from stage2_map_walk_leaf(m, vcpu, gfn, sp, index, old)
            if ret != 0:
                return ret
        # Read again: the walk goes on in whatever is there by now.
        pte = sp.spt[index]
        if not is_table(pte):
            return 0
        sp = m.child(pte)


def stage2_map_walker_try_leaf(
    m: Stage2Machine, sp: PageTable, index: i64, old: i64, new: i64
) -> Generator[int, None, i64]:
    """The leaf itself; in the place of a table it becomes a block (stage2_map_walk_table_pre())."""
    if not stage2_pte_needs_update(old, new):
        return -EAGAIN
    broken = yield from stage2_try_break_pte(m, sp, index, old)
    if not broken:
        return -EAGAIN
    yield from stage2_make_pte(m, sp, index, new)
    return 0


def stage2_pte_needs_update(old: i64, new: i64) -> bool:
    """Not for the leaf that is there already, nor if permissions alone differ: the vCPU exits once more if it still has
    to, and relaxes them then."""
    if not old & S2_VALID or not new & S2_VALID:
        return True
    return (old ^ new) & ~S2_PERMS != 0


def stage2_map_walk_leaf(
    m: Stage2Machine, vcpu: KvmVcpu, gfn: i64, sp: PageTable, index: i64, old: i64
) -> Generator[int, None, i64]:
    """A table in the place of nothing or of a block. Of the block nothing is kept: what lies around the fault is mapped
    when the guest gets there."""
    kvm_mmu_memory_cache_alloc(m, vcpu)
    child = m.alloc_table(sp.level - 1, gfn)
    broken = yield from stage2_try_break_pte(m, sp, index, old)
    if not broken:
        return -EAGAIN
    yield from stage2_make_pte(m, sp, index, make_table(child.pt))
    return 0


def stage2_try_break_pte(m: Stage2Machine, sp: PageTable, index: i64, old: i64) -> Generator[int, None, bool]:
    """Break: lock the entry and invalidate what CPUs may have cached of its old value. False: a shared walk has met
    somebody else at it. A walk with mmu_lock for write does not compare, so an access flag may get lost."""
    exclusive = m.mmu_lock.state < 0
    if old & S2_LOCKED:
        m.warn_on(exclusive, "stage2_try_break_pte: a locked entry in an exclusive walk")
        return False
    yield MAP_BREAK
    if exclusive:
        m.store(sp, index, S2_LOCKED)
    elif not m.try_store(sp, index, old, S2_LOCKED):
        return False
    if is_table(old):
        m.unlink(m.child(old))
    if old & S2_VALID:
        first, end = m.leaf_gfns(sp, index, old)
        yield from kvm_tlb_flush_vmid_range(m, first, end, MAP_TLBI)
    return True


def stage2_make_pte(m: Stage2Machine, sp: PageTable, index: i64, new: i64) -> Generator[int, None, None]:
    """Make: the new value, which unlocks the entry."""
    yield MAP_MAKE
    m.warn_on(sp.spt[index] != S2_LOCKED, "stage2_make_pte: the entry is not locked")
    m.store(sp, index, new)


def free_unlinked_table(m: Stage2Machine, sp: PageTable) -> None:
    """stage2_free_unlinked_table(): other shared walks may still be in it."""
    m.call_rcu(sp)


def update_leaf_attrs(m: Stage2Machine, gfn: i64, set_bits: i64, point: int) -> Generator[int, None, tuple[i64, i64]]:
    """stage2_update_leaf_attrs() in a shared walk: set bits of the leaf of gfn. Returns 0, or -EAGAIN, also if there is
    none; and the leaf as it was read, 0 if the first is not."""
    m.rcu_read_lock()
    sp, index = find(m, gfn)
    old = sp.spt[index]
    ret: i64 = 0 if is_leaf(old) else -EAGAIN
    if ret == 0 and old | set_bits != old:
        yield point
        if not m.try_store(sp, index, old, old | set_bits):
            ret = -EAGAIN
    m.rcu_read_unlock()
    return ret, old if ret == 0 else i64(0)


def kvm_pgtable_stage2_mkyoung(m: Stage2Machine, gfn: i64) -> Generator[int, None, tuple[i64, i64]]:
    """Set the access flag of the leaf of gfn. Returns what update_leaf_attrs() returns."""
    return update_leaf_attrs(m, gfn, S2_YOUNG, ACCESS_SET)


def kvm_pgtable_stage2_relax_perms(m: Stage2Machine, vcpu: KvmVcpu, gfn: i64, rights: i64) -> Generator[int, None, i64]:
    """Add rights to the leaf of gfn, whatever its size. Returns 0 or -EAGAIN; in both cases this CPU drops its own
    entry, since it faulted on that one and would do so again."""
    ret, _ = yield from update_leaf_attrs(m, gfn, rights, RELAX_SET)
    yield RELAX_TLBI
    kvm_tlb_flush_vmid_ipa_nsh(m, vcpu, gfn)
    return ret


def kvm_pgtable_stage2_unmap(m: Stage2Machine, start: i64, end: i64) -> Generator[int, None, None]:
    """Take away what maps [start, end), blocks as a whole, and the tables that are empty then. mmu_lock held for write;
    everything is flushed on the way (without FEAT_TLBIRANGE nothing is put off)."""
    yield from unmap_below(m, m.root, start, end)


def unmap_below(m: Stage2Machine, sp: PageTable, start: i64, end: i64) -> Generator[int, None, None]:
    """stage2_unmap_walker() for the entries of a table."""
    pages = m.pages_per_hpage(sp.level)
    for index in range(max(0, (start - sp.gfn) // pages), min(m.entries, (end - sp.gfn + pages - 1) // pages)):
        pte = sp.spt[index]
        first, stop = m.leaf_gfns(sp, index, pte)
        if is_leaf(pte):
            m.store(sp, index, 0)
            yield from kvm_tlb_flush_vmid_range(m, first, stop, UNMAP_TLBI)
        elif is_table(pte):
            child = m.child(pte)
            yield from unmap_below(m, child, start, end)
            if m.is_empty(child):
                yield UNMAP_TABLE  # a walk may come by once more, and the CPU remember the table
                m.store(sp, index, 0)
                m.unlink(child)
                yield from kvm_tlb_flush_vmid_range(m, first, stop, UNMAP_TLBI)
                m.free_table(child)
