# SPDX-License-Identifier: GPL-2.0-only
"""A second architecture, as small as one can be: a stage-2 table of one level, one fault handler, no patches.

It is there to show what the rest needs of an architecture, and that it needs nothing of x86.
"""

from collections.abc import Generator
from typing import Any, Final

from reference_mmu.architecture import Architecture
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.kvm.faultin import Faultin, kvm_faultin_pfn
from reference_mmu.kvm.flush import kvm_flush_remote_tlbs
from reference_mmu.kvm.memslots import KvmGfnRange, KvmMemorySlot
from reference_mmu.kvm.mmu_notifier import mmu_invalidate_retry_gfn
from reference_mmu.kvm.observer import LEAF_ACCESSED, LEAF_ELSE, PTE_LEAF, PTE_NONE, Observable
from reference_mmu.kvm.operations import start_common_operation
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.release import kvm_release_faultin_page
from reference_mmu.kvm.tlb import invalidate, lookup
from reference_mmu.kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_R, TLB_W, KvmVcpu
from reference_mmu.kvm.vm import Vm
from reference_mmu.mm.gup import FOLL_WRITE
from reference_mmu.observed import EV_PF, PF_EMULATE, PF_FIXED, PF_RETRY
from reference_mmu.operations import READ, WRITE, Call
from reference_mmu.oracle import Oracle
from reference_mmu.points import (
    AGING_END,
    AGING_START,
    COPYING,
    FAULT_BEGINS,
    FAULT_ENTER,
    FAULT_IS_RETRIED,
    FAULT_RETRY,
    GUP,
    HARVEST_END,
    HARVEST_START,
    INVALIDATION_END,
    INVALIDATION_START,
    MEMSLOTS,
    MM,
    WANT_WRITE,
    Point,
    PointTable,
)

NAME: Final = "tiny"

PRESENT, WRITABLE, YOUNG = 1, 2, 4
MAY_WRITE: Final = 8  # the host lets the guest write: the dirty log takes WRITABLE alone
PFN_SHIFT: Final = 12

WALK, FAULT_SEQ, FAULT_LOCK, FAULT_EXIT, LOG_LOCK, LOG_FLUSH, ZAP_LOCK = range(1, 8)
ZAP_FLUSH: Final = 9

POINTS: Final = PointTable(
    (
        Point(WALK, "walk", "page walker", "the entry is read next"),
        FAULT_BEGINS,
        Point(FAULT_SEQ, "fault.seq", "tiny_handle_fault", "the slot is known, the snapshot comes next"),
        *GUP,
        *MM,
        *INVALIDATION_START,
        *INVALIDATION_END,
        Point(FAULT_LOCK, "fault.lock", "tiny_handle_fault", "the page is in hand", wants=WANT_WRITE),
        Point(FAULT_EXIT, "fault.exit", "tiny_handle_fault", "the fault is handled, SRCU is released next"),
        FAULT_IS_RETRIED,
        *AGING_START,
        *AGING_END,
        *MEMSLOTS,
        Point(ZAP_LOCK, "zap.lock", "kvm_arch_flush_shadow_memslot", "the slot is INVALID", wants=WANT_WRITE),
        Point(ZAP_FLUSH, "zap.flush", "kvm_arch_flush_shadow_memslot", "zapped, flush requests posted"),
        Point(LOG_LOCK, "log.lock", "kvm_arch_commit_memory_region", "the slot logs", wants=WANT_WRITE),
        Point(LOG_FLUSH, "log.flush", "kvm_arch_commit_memory_region", "protected, flush requests posted"),
        *HARVEST_START,
        *HARVEST_END,
        *COPYING,
    )
)

Flow = Generator[int, None, Any]


class Tiny(Vm):
    """One table, always loaded."""

    def __init__(self, config: Config, sem: Semantics, actors: int, operations: int, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)
        self.stage2 = PageTable(0, 1, 0, self.entries, 0)
        self.vcpus.extend(KvmVcpu(number) for number in range(config.vcpus))
        self.create_memslots(config)
        oracle.attach(self)

    # --- what common code asks for --------------------------------------------------------------------------------

    def start(self, actor: int, call: Call) -> Flow:
        if call.kind in (READ, WRITE):
            return self.access(self.vcpus[actor], int(call.a), call.kind == WRITE)
        return start_common_operation(self, call)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Flow:
        return self.zap(gfn_range.start, gfn_range.end)

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Flow:
        return self.age(gfn_range, YOUNG)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Flow:
        return self.age(gfn_range, 0)

    def elides_tlb_flush_if_young(self) -> bool:
        return self.sem.age_elides_tlb_flush

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Flow:
        yield ZAP_LOCK
        self.write_lock()
        if (yield from self.zap(slot.base_gfn, slot.end_gfn())):
            yield from kvm_flush_remote_tlbs(self, ZAP_FLUSH)
        self.write_unlock()

    def kvm_arch_commit_memory_region(self, old: KvmMemorySlot | None, new: KvmMemorySlot | None) -> Flow:
        if new is None or not new.log_dirty_pages or (old is not None and old.log_dirty_pages):
            return
        yield LOG_LOCK
        self.write_lock()
        for gfn in range(new.base_gfn, new.end_gfn()):
            self.protect(gfn)
        self.write_unlock()
        yield from kvm_flush_remote_tlbs(self, LOG_FLUSH)

    def kvm_arch_sync_dirty_log(self) -> Flow:
        yield from ()

    def kvm_arch_mmu_enable_log_dirty_pt_masked(self, slot: KvmMemorySlot, gfn_offset: int, mask: int) -> Flow:
        for bit in range(self.word_gfns):
            if mask >> bit & 1:
                self.protect(slot.base_gfn + gfn_offset + bit)
        yield from ()

    # --- flows ----------------------------------------------------------------------------------------------------

    def access(self, vcpu: KvmVcpu, gfn: int, write: bool) -> Flow:
        """A load or store of the guest, with as many faults as it takes."""
        while True:
            entry = lookup(self, vcpu, gfn)
            if entry and (entry & TLB_W or not write):
                self.guest_access(vcpu, gfn, entry >> TLB_PFN_SHIFT, write)
                return
            invalidate(self, vcpu, gfn)
            yield WALK
            pte = self.stage2.spt[gfn]
            if pte & PRESENT and (pte & WRITABLE or not write):
                self.stage2.spt[gfn] = pte | YOUNG
                rights = TLB_R | (TLB_W | TLB_D if pte & WRITABLE else 0)
                vcpu.tlb.put(self.tlb_key(gfn, 1), rights | pte >> PFN_SHIFT << TLB_PFN_SHIFT)
            elif (yield from self.handle_fault(gfn, write)) == PF_EMULATE:
                return

    def handle_fault(self, gfn: int, write: bool) -> Flow:
        """Returns PF_*: an access without a memslot is MMIO, which is emulated."""
        yield FAULT_ENTER
        self.srcu.lock(self.actor)
        slot = self.gfn_to_memslot(gfn)
        result = PF_EMULATE if slot is None else PF_RETRY
        if slot is not None and not slot.invalid and (yield from self.map_page(slot, gfn, write)):
            result = PF_FIXED
        self.record(EV_PF, result)
        yield FAULT_RETRY if result == PF_RETRY else FAULT_EXIT
        self.srcu.unlock(self.actor)
        return result

    def map_page(self, slot: KvmMemorySlot, gfn: int, write: bool) -> Flow:
        yield FAULT_SEQ
        seq = self.mmu_invalidate_seq
        out = Faultin(False)
        pfn = yield from kvm_faultin_pfn(self, slot, gfn, FOLL_WRITE if write else 0, out)
        yield FAULT_LOCK
        self.write_lock()
        stale = mmu_invalidate_retry_gfn(self, seq, gfn)
        writable = False
        if not stale:
            writable = out.writable and (write or not slot.log_dirty_pages)
            if writable:
                self.mark_page_dirty_in_slot(slot, gfn)
            if writable or not self.stage2.spt[gfn] & PRESENT:
                self.store(gfn, PRESENT | YOUNG | (WRITABLE | MAY_WRITE if writable else 0) | pfn << PFN_SHIFT)
        kvm_release_faultin_page(self, out.page, stale, writable)
        self.write_unlock()
        return not stale

    def store(self, gfn: int, pte: int) -> None:
        old = self.stage2.spt[gfn]
        self.stage2.spt[gfn] = pte
        self.count_change()
        self.oracle.spte_changed(self, self.stage2, gfn, old, pte)

    def zap(self, start: int, end: int) -> Flow:
        """mmu_lock held; True if the caller must flush."""
        flush = False
        for gfn in range(start, min(end, int(self.entries))):
            if self.stage2.spt[gfn] & PRESENT:
                self.store(gfn, 0)
                flush = True
        yield from ()
        return flush

    def age(self, gfn_range: KvmGfnRange, forget: int) -> Flow:
        young = False
        for gfn in range(gfn_range.start, gfn_range.end):
            pte = self.stage2.spt[gfn]
            young = young or bool(pte & YOUNG)
            if pte & forget:
                self.store(gfn, pte & ~forget)
        yield from ()
        return young

    def protect(self, gfn: int) -> None:
        pte = self.stage2.spt[gfn]
        if pte & WRITABLE:
            self.store(gfn, pte & ~WRITABLE)

    # --- what an observer reads ---------------------------------------------------------------------------------------

    def pte_kind(self, pte: int, level: int) -> int:
        return PTE_LEAF if pte & PRESENT else PTE_NONE

    def pte_pfn(self, pte: int) -> int:
        return pte >> PFN_SHIFT

    def pte_writable(self, pte: int) -> bool:
        return bool(pte & WRITABLE)

    def pte_may_write(self, pte: int) -> bool:
        return bool(pte & MAY_WRITE)

    def silent_rights(self, vcpu: KvmVcpu) -> int:
        return TLB_W

    def leaf_difference(self, pte: int, other: Observable, other_pte: int) -> int:
        changed = pte ^ other_pte
        return (LEAF_ACCESSED if changed & YOUNG else 0) | (LEAF_ELSE if changed & ~YOUNG else 0)

    def leaf_words(self, pte: int) -> str:
        return f"pfn {pte >> PFN_SHIFT}" + (" W" if pte & WRITABLE else "") + (" young" if pte & YOUNG else "")

    def tables(self) -> list[PageTable]:
        return [self.stage2]

    def table(self, number: int) -> PageTable:
        return self.stage2

    def roots(self) -> list[PageTable]:
        return [self.stage2]

    def top(self, sp: PageTable) -> PageTable:
        return sp

    def root_of(self, vcpu: KvmVcpu) -> PageTable | None:
        return self.stage2


class TinyArchitecture(Architecture):
    def __init__(self) -> None:
        super().__init__(POINTS)

    def machine(self, config: Config, sem: Semantics, actors: int, operations: int, oracle: Oracle) -> Vm:
        return Tiny(config, sem, actors, operations, oracle)


def tiny_config(**fields: Any) -> Config:
    return Config(arch=NAME, bits=3, levels=1, backing=("anon",), **fields)
