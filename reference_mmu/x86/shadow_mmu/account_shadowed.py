# SPDX-License-Identifier: GPL-2.0-only
"""A guest page table gets, or loses, a shadow page: write protection of the guest's memory (account_shadowed(), mmu.c).

The table of a 4K page is only write-protected: the first write that does not look like single stores to entries of a
page table makes the page unsync instead.  Tables of upper levels are write-tracked and stay read-only.
"""

from __future__ import annotations

from collections.abc import Generator

from ...kvm.flush import kvm_flush_remote_tlbs
from ..lpage_info import update_gfn_disallow_lpage_count
from ..machine import Machine
from ..page_table import KvmMmuPage
from ..points import TRACK_FLUSH
from ..spte import PG_LEVEL_4K
from ..write_protect import __kvm_write_track_add_gfn, __kvm_write_track_remove_gfn, kvm_mmu_slot_gfn_write_protect


def account_shadowed(m: Machine, sp: KvmMmuPage) -> Generator[int, None, None]:
    """From now on no vCPU can write the table without KVM seeing it. mmu_lock held for write.

    What was written until the flush has ended is seen by whoever reads the entries again after it. The count goes up
    first: an emulated write either is seen, too, or sees the count and comes to change the SPTEs.
    """
    m.indirect_shadow_pages += 1
    slot = m.gfn_to_memslot(sp.gfn)
    assert slot is not None
    if sp.level > PG_LEVEL_4K:
        yield from __kvm_write_track_add_gfn(m, slot, sp.gfn)
        return
    update_gfn_disallow_lpage_count(m, slot, sp.gfn, 1)
    write_protected = yield from kvm_mmu_slot_gfn_write_protect(m, slot, sp.gfn, PG_LEVEL_4K)
    if write_protected:
        yield from kvm_flush_remote_tlbs(m, TRACK_FLUSH)


def unaccount_shadowed(m: Machine, sp: KvmMmuPage) -> None:
    """The shadow page is being zapped. SPTEs that were write-protected for it stay so until a fault."""
    m.indirect_shadow_pages -= 1
    slot = m.gfn_to_memslot(sp.gfn)
    assert slot is not None
    if sp.level > PG_LEVEL_4K:
        __kvm_write_track_remove_gfn(m, slot, sp.gfn)
    else:
        update_gfn_disallow_lpage_count(m, slot, sp.gfn, -1)
