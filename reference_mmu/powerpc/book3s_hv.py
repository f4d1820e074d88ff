# SPDX-License-Identifier: GPL-2.0-only
"""What both MMUs of HV mode share: a table that hardware walks, tlbie, and a dirty log kept by hardware
(arch/powerpc/kvm/book3s_hv.c).

Of a leaf, MAY_WRITE is the right to write, and WRITE that right together with C, the bit that says that the page was
written: no entry of the TLB lets a CPU write without it. KVM_GET_DIRTY_LOG moves C bits into the bitmap first, and goes
on as elsewhere; the harvest of the bitmap itself, which takes no mmu_lock here, is that of the common code.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.faultin import Faultin, gfn_to_pfn_memslot, kvm_faultin_pfn
from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.observer import MARKS_LATER
from ..kvm.page_table import PageTable
from ..kvm.pfn import NO_PAGE, is_error_noslot_pfn
from ..mm.gup import FOLL_WRITE, gup_fast
from ..operations import MISHAP_GARBAGE, SHARE_PAGE, Call
from ..oracle import Oracle
from ..stage2.fault import ACCESS_FLAG_FAULT, NO_FAULT, PERMISSION_FAULT, TRANSLATION_FAULT, Fault
from ..stage2.flush import flush_remote_range
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, is_leaf
from ..stage2.stage2 import Stage2
from ..stage2.table import leaves
from .book3s_hv_uvmem import kvmppc_share_page
from .points import HV_TLBIE, POINTS


class Book3sHv(Stage2):
    """TLBs are flushed by tlbie, broadcast and waited for: nobody is thrown out of the guest."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)
        self.moving: list[int] = []  # gfns whose C bit is out of the table, and not yet in the bitmap

    def dirty_marks(self) -> i64:
        """set_page_dirty_lock() may sleep, so it has to wait until mmu_lock is released."""
        return MARKS_LATER

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        if call.kind == SHARE_PAGE:
            return kvmppc_share_page(self, call.a)
        return super().start(actor, call)

    # --- what hardware does -------------------------------------------------------------------------------------

    def hardware_fault(self, pte: i64, write: bool) -> i64:
        """An access flag fault is one that misses R or C alone."""
        if not is_leaf(pte):
            return TRANSLATION_FAULT
        if write and not pte & S2_MAY_WRITE:
            return PERMISSION_FAULT
        wanted = S2_YOUNG | S2_WRITE if write else S2_YOUNG
        return NO_FAULT if self.hardware_young or pte & wanted == wanted else ACCESS_FLAG_FAULT

    def hardware_sets(self, pte: i64, write: bool) -> i64:
        if not self.hardware_young:
            return pte
        return pte | S2_YOUNG | S2_WRITE if write else pte | S2_YOUNG

    def hardware_bits(self) -> i64:
        return S2_YOUNG | S2_WRITE if self.hardware_young else 0

    def flush_range(self, first: i64, end: i64) -> None:
        self.drop_everywhere(first, end)

    # --- unmapping ----------------------------------------------------------------------------------------------

    def unmap_leaf(self, sp: PageTable, index: i64) -> Generator[int, None, bool]:
        """Flushed on the spot; what was written goes into the dirty bitmap (kvmppc_update_dirty_map())."""
        pte = sp.spt[index]
        self.store(sp, index, 0)
        yield from self.tlbie(sp, index, pte)
        return False

    def tlbie(self, sp: PageTable, index: i64, pte: i64) -> Generator[int, None, None]:
        """Flush what an entry translates that was `pte` until now."""
        first, end = self.leaf_gfns(sp, index, pte)
        written = [int(gfn) for gfn in range(first, end)] if is_leaf(pte) and pte & S2_WRITE else []
        self.moving.extend(written)
        yield from flush_remote_range(self, first, end, HV_TLBIE)
        for gfn in written:
            self.moving.remove(gfn)
            self.update_dirty_map(gfn, gfn + 1)

    def update_dirty_map(self, first: i64, end: i64) -> None:
        """kvmppc_update_dirty_map(): gfns [first, end) were written."""
        for slot in self.memslots:
            for gfn in range(max(first, slot.base_gfn), min(end, slot.end_gfn())):
                self.mark_page_dirty_in_slot(slot, gfn)

    # --- the dirty log ------------------------------------------------------------------------------------------

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """Nothing is protected."""
        yield from ()

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        """C was cleared when it was moved."""
        yield from ()

    def kvm_arch_sync_dirty_log(self) -> Generator[int, None, None]:
        for slot in self.memslots:
            if slot.log_dirty_pages:
                for gfn in range(slot.base_gfn, slot.end_gfn()):
                    yield from self.test_clear_dirty(gfn)

    def test_clear_dirty(self, gfn: i64) -> Generator[int, None, None]:
        """Move the C bit of what maps a gfn into the bitmap."""
        raise NotImplementedError

    def clear_dirty(self, gfn: i64) -> Generator[int, None, None]:
        """The same, once the locks are taken."""
        for sp, index in leaves(self, gfn, gfn + 1):
            pte = sp.spt[index]
            if pte & S2_WRITE:
                self.store(sp, index, pte & ~S2_WRITE)
                yield from self.tlbie(sp, index, pte)

    def logged_in_flight(self) -> list[int]:
        return self.logged_in_table() + self.moving

    def logged_in_table(self) -> list[int]:
        """Whatever C says."""
        found: list[int] = []
        for slot in self.memslots:
            for gfn in range(slot.base_gfn, slot.end_gfn()):
                if self.leaf_of(self.root, gfn)[0] & S2_WRITE:
                    found.append(int(gfn))
        return found

    def stop(self) -> None:
        """The C bits are in the bitmaps."""
        for gfn in self.logged_in_table():
            self.update_dirty_map(gfn, gfn + 1)


def find_page(m: Book3sHv, slot: KvmMemorySlot, fault: Fault, out: Faultin, faultin: bool) -> Generator[int, None, i64]:
    """The pfn, or KVM_PFN_*; what was taken, and whether it may be written, is in `out`. Without `faultin`, the commit
    that has the handler use __kvm_faultin_pfn(), it tries a fast GUP of its own, and loses sight of a page that it got
    in another way if that is reserved."""
    foll: i64 = FOLL_WRITE if fault.write else 0
    if faultin:
        return (yield from kvm_faultin_pfn(m, slot, fault.gfn, foll, out))
    hva = slot.hva + fault.gfn - slot.base_gfn
    if (fault.write or not fault.upgrade_fails) and gup_fast(m, hva, FOLL_WRITE):
        out.page = m.host.pte[hva]
        out.writable = True
        return out.page
    pfn = yield from gfn_to_pfn_memslot(m, slot, fault.gfn, foll, out)
    out.page = NO_PAGE
    if not is_error_noslot_pfn(pfn) and m.host.pages[pfn].has_struct and not m.host.pages[pfn].reserved:
        out.page = pfn
    return pfn


def new_faultin(m: Book3sHv, fault: Fault) -> Faultin:
    """The variables of a handler, which sets `writable` to whether the guest writes, or to false."""
    return Faultin(fault.write or m.failing(MISHAP_GARBAGE), fault.upgrade_fails)


def find_kvm_host_pte(m: Book3sHv, mmu_seq: i64, hva: i64) -> i64:
    """find_kvm_host_pte(): the pfn in the host's page table, negative if none is present or the look-up is stale.
    mmu_lock held."""
    m.lockdep_assert(m.mmu_lock.held[m.actor] != 0)
    return i64(-1) if mmu_invalidate_retry(m, mmu_seq) else m.host.pte[hva]


def put_page(m: Book3sHv, page: i64) -> None:
    """put_page() of what was taken, if anything was."""
    if page != NO_PAGE:
        m.kvm_put_page(page)


def set_page_dirty_lock(m: Book3sHv, page: i64) -> None:
    """set_page_dirty_lock(): under the lock of the page, which reclaim holds, and not under mmu_lock. Reserved pages
    are marked, too."""
    if page == NO_PAGE:
        return
    m.host.folio(page).dirty = True
    m.count_dirty_mark()
    m.oracle.page_marked(m, page, True)
