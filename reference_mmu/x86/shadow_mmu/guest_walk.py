# SPDX-License-Identifier: GPL-2.0-only
"""KVM's own walk of the guest's page tables, FNAME(walk_addr_generic)() in paging_tmpl.h.

It reads guest memory through the host's mapping, holding no lock: another vCPU may rewrite an entry the moment it has
been read.  Whoever builds an SPTE from the result must look at the entries again, under mmu_lock and with the table
write-protected or unsync, see fetch().
"""

from __future__ import annotations

from collections.abc import Generator

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from ...mm.errno import EFAULT
from ...mm.gup import fault_in_user
from ...mm.host import HOST_D, HOST_PROTNONE
from ..machine import Machine
from ..points import GPTE_MARK, GPTE_READ, GPTE_UPDATE
from ..spte import ACC_ALL, ACC_WRITE_MASK, PG_LEVEL_4K, PT_ACCESSED_MASK, PT_DIRTY_MASK
from ..vcpu_arch import Vcpu
from .gpte import gpte_access, gpte_to_gfn, is_present_gpte
from .read_gpte import gfn_to_hva_prot, guest_has_ad, protect_clean_gpte


@mypyc_attr(acyclic=True, free_list_len=1)
class GuestWalker:
    """struct guest_walker: what the walk saw, by level; place 0 is unused."""

    def __init__(self, levels: i64) -> None:
        self.table_gfn: vec[i64] = vec[i64]([0] * (levels + 1))
        self.ptes: vec[i64] = vec[i64]([0] * (levels + 1))
        self.pt_access: vec[i64] = vec[i64]([0] * (levels + 1))  # what the levels above allow
        self.pte_access: i64 = 0
        self.gfn: i64 = 0
        self.prefetch_ptes: vec[i64] = vec[i64]([])  # the 4K entries around the one of the fault


def walk_addr(m: Machine, vcpu: Vcpu, addr: i64, write_fault: bool) -> Generator[int, None, GuestWalker | None]:
    """Walk from CR3 to the 4K entry of `addr`. None: the guest does not allow the access, which is a page fault of its
    own. Sets A and D in the guest's entries. SRCU held."""
    vcpu.walk_error_present = False
    while True:
        walker = yield from read_gptes(m, vcpu, addr)
        if walker is None:
            return None
        gpte = walker.ptes[PG_LEVEL_4K]
        if write_fault and (walker.pte_access & ACC_WRITE_MASK) == 0:
            vcpu.walk_error_present = True
            return None
        walker.gfn = gpte_to_gfn(gpte)
        if not write_fault:
            walker.pte_access = protect_clean_gpte(m, walker.pte_access, gpte)
        r = yield from update_accessed_dirty_bits(m, walker, addr, write_fault)
        if r == 0:
            return walker
        if r < 0:
            return None


def read_gptes(m: Machine, vcpu: Vcpu, addr: i64) -> Generator[int, None, GuestWalker | None]:
    """One pass from the root down. None: an entry is not present, or its table not in memory."""
    walker = GuestWalker(m.levels)
    table_gfn = vcpu.cr3
    access: i64 = ACC_ALL
    level = m.levels
    while level >= PG_LEVEL_4K:
        yield GPTE_READ
        hva = gfn_to_hva_prot(m, table_gfn)
        if hva < 0:
            return None
        # __get_user() takes the host's page fault where there is one to take.
        if m.host.pte[hva] < 0 or (m.host.flags[hva] & HOST_PROTNONE) != 0:
            allowed = yield from fault_in_user(m, hva, False)
            if not allowed:
                return None
        gpte = m.host.words[hva * m.entries + m.spte_index(addr, level)]
        if not is_present_gpte(gpte):
            return None
        walker.table_gfn[level] = table_gfn
        walker.ptes[level] = gpte
        walker.pt_access[level] = access
        access &= gpte_access(gpte)
        table_gfn = gpte_to_gfn(gpte)
        level -= 1
    walker.pte_access = access
    return walker


def update_accessed_dirty_bits(
    m: Machine, walker: GuestWalker, addr: i64, write_fault: bool
) -> Generator[int, None, i64]:
    """Set A on the way, for a write D in the last entry, as the hardware that does not see these tables would. 0; 1 if
    an entry has changed since it was read: walk again; -EFAULT where the process may not write."""
    if not guest_has_ad(m):
        return 0
    for level in range(m.levels, 0, -1):
        orig_pte = walker.ptes[level]
        gpte = orig_pte | PT_ACCESSED_MASK
        if level == PG_LEVEL_4K and write_fault:
            gpte |= PT_DIRTY_MASK
        if gpte == orig_pte:
            continue
        yield GPTE_UPDATE
        table_gfn = walker.table_gfn[level]
        slot = m.gfn_to_memslot(table_gfn)
        hva = gfn_to_hva_prot(m, table_gfn)
        if slot is None or hva < 0:
            return 1
        # In a read-only slot the bits stay as they are.
        if slot.readonly:
            continue
        allowed = yield from fault_in_user(m, hva, True)
        if not allowed:
            return -EFAULT
        word = hva * m.entries + m.spte_index(addr, level)
        if m.host.words[word] != orig_pte:
            return 1
        m.host.words[word] = gpte
        m.host.flags[hva] |= HOST_D
        if slot.log_dirty_pages:
            m.marking.append(table_gfn)
            yield GPTE_MARK
            m.marking.remove(table_gfn)
            m.mark_page_dirty_in_slot(slot, table_gfn)
        walker.ptes[level] = gpte
    return 0
