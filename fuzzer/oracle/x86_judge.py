# SPDX-License-Identifier: GPL-2.0-only
"""The judge of an x86 machine: all that every machine is judged by, shadowed page tables of the guest, and
the APIC access page."""

from __future__ import annotations

from typing import Final, cast

from mypy_extensions import i64

from fuzzer.oracle.apic_page import ApicPage
from fuzzer.oracle.guest_tables import GuestTables
from fuzzer.oracle.judge import Judge
from fuzzer.oracle.reverse_maps import ReverseMaps
from fuzzer.oracle.silent_writes import SilentWrites
from fuzzer.oracle.table_entries import TableEntries
from fuzzer.oracle.write_tracking import WriteTracking
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.kvm.observer import PTE_FROZEN, PTE_LEAF, PTE_TABLE, Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vcpu import KvmVcpu
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.vcpu_arch import Vcpu
from reference_mmu.x86.x86 import X86

# The WARN that tdp-fault-warn-flush-mmuw adds on purpose: an effect of that patch, not a violation.
ANNOUNCED_WARN: Final = "tdp_mmu_map: fault cleared MMU_WRITABLE"


class X86Judge(Judge):
    """All oracles of one x86 machine."""

    def __init__(self) -> None:
        super().__init__()
        self.guest_tables = GuestTables(self.reports)
        self.apic_page = ApicPage(self.reports, self.mappings)
        self.table_entries = TableEntries(self.reports)
        self.reverse_maps = ReverseMaps(self.reports)
        self.write_tracking = WriteTracking(self.reports)
        self.silent_writes = SilentWrites(self.reports, self.dirty)

    def attach(self, m: Observable) -> None:
        self.guest_tables.attach(cast(X86, m))
        super().attach(m)

    def entry_changed(
        self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        x86, page = cast(X86, m), cast(KvmMmuPage, sp)
        if was == PTE_FROZEN or now != PTE_LEAF:
            self.table_entries.entry_changed(x86, page, index, old_spte, new_spte, was, now)
        if x86.tracked_gfns:
            self.write_tracking.entry_changed(x86, page, index, old_spte, new_spte, was, now)
        if now == PTE_LEAF and x86.nr_memslots_dirty_logging:
            self.silent_writes.entry_changed(x86, page, index, old_spte, new_spte, was)
        if not page.tdp_mmu_page:
            self.reverse_maps.entry_changed(x86, page, index, old_spte, new_spte, was, now)
            if now == PTE_TABLE and not page.direct:
                self.guest_tables.linked(x86, page, index)

    def mmu_unlocking(self, m: Observable) -> None:
        super().mmu_unlocking(m)
        x86 = cast(X86, m)
        if self.silent_writes.gained:
            self.silent_writes.mmu_unlocking(x86)
        if self.reverse_maps.changes:
            self.reverse_maps.mmu_unlocking(x86)
        if x86.indirect_shadow_pages:
            self.guest_tables.mmu_unlocking(x86)

    def discarded(self, m: Observable, hva: i64) -> None:
        super().discarded(m, hva)
        self.guest_tables.discarded(cast(X86, m), hva)

    def invalidate_started(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        super().invalidate_started(m, hva_start, hva_end)
        self.apic_page.invalidate_started(cast(X86, m), hva_start, hva_end)
        self.reverse_maps.invalidate_started(cast(X86, m), hva_start, hva_end)

    def table_freed(self, m: Observable, sp: PageTable) -> None:
        super().table_freed(m, sp)
        self.reverse_maps.table_freed(cast(KvmMmuPage, sp))

    def slot_zapped(self, m: Observable, slot: KvmMemorySlot) -> None:
        super().slot_zapped(m, slot)
        self.reverse_maps.slot_zapped(cast(X86, m), slot)

    def rmap_passed_over(self, m: Observable) -> None:
        self.report("rmap-passed-over")

    def vcpu_not_created(self, m: Observable, slot_is_left: bool) -> None:
        if slot_is_left:
            self.report("leftover-slot")

    def apic_page_used(self, m: Observable, vcpu: KvmVcpu) -> None:
        self.apic_page.used(cast(X86, m), cast(Vcpu, vcpu))

    def gpte_written(self, m: Observable, hva: i64, index: i64) -> None:
        self.guest_tables.written(cast(X86, m), hva, index)

    def gpte_write_begun(self, m: Observable, gfn: i64, index: i64) -> None:
        self.guest_tables.write_begun(cast(X86, m), gfn, index)

    def gpte_write_emulated(self, m: Observable, gfn: i64, index: i64) -> None:
        self.guest_tables.write_emulated(cast(X86, m), gfn, index)

    def guest_walk_taken(self, m: Observable) -> None:
        self.guest_tables.walk_taken()

    def guest_flush_begun(self, m: Observable, vcpu: KvmVcpu) -> None:
        self.guest_tables.flush_begins(vcpu)

    def guest_flush_ended(self, m: Observable, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        self.guest_tables.flush_ends(cast(X86, m), vcpu, first, end)

    def warned(self, m: Observable, text: str) -> None:
        if text != ANNOUNCED_WARN:
            super().warned(m, text)
