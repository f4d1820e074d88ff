# SPDX-License-Identifier: GPL-2.0-only
"""The judge of one run: hands each event to the oracles that care and collects what they report."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.oracle.aging import Accesses
from fuzzer.oracle.contents import Contents
from fuzzer.oracle.dirty import DirtyLog
from fuzzer.oracle.guest_tables import GuestTables
from fuzzer.oracle.mappings import Mappings
from fuzzer.oracle.reports import Reports, Violation
from fuzzer.oracle.translations import Translations
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.oracle import Oracle
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.tlb import Vcpu

# The WARN that tdp-fault-warn-flush-mmuw adds on purpose: an effect of that patch, not a violation.
ANNOUNCED_WARN = "tdp_mmu_map: fault cleared MMU_WRITABLE"


class Judge(Oracle):
    """All oracles of one machine."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.translations = Translations(self.reports)
        self.dirty = DirtyLog(self.reports)
        self.contents = Contents(self.reports)
        self.mappings = Mappings(self.reports)
        self.accesses = Accesses(self.reports)
        self.guest_tables = GuestTables(self.reports)

    @property
    def violations(self) -> dict[str, Violation]:
        return self.reports.violations

    @property
    def facts(self) -> dict[str, int]:
        return self.reports.facts

    def report(self, invariant: str, detail: str = "") -> None:
        self.reports.report(invariant, detail)

    def attach(self, m: Machine) -> None:
        self.guest_tables.attach(m)
        for slot in m.memslots:
            if slot.log_dirty_pages:
                self.dirty.start(m, slot)

    def finish(self, m: Machine) -> None:
        """The program has ended: judge what is left."""
        self.dirty.finish(m)
        self.contents.finish(m)
        self.mappings.finish(m)

    def spte_changed(self, m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        self.translations.spte_changed(m, sp, index, old_spte, new_spte)
        self.mappings.spte_changed(m, sp, index, old_spte, new_spte)
        self.accesses.spte_changed(m, sp, index, old_spte, new_spte)

    def table_unlinked(self, m: Machine, sp: KvmMmuPage) -> None:
        self.translations.table_unlinked(m, sp)

    def table_freed(self, m: Machine, sp: KvmMmuPage) -> None:
        self.translations.table_freed(m, sp)
        self.mappings.table_freed(sp)

    def flushed(self, m: Machine) -> None:
        self.translations.flushed()

    def mmu_unlocking(self, m: Machine) -> None:
        self.translations.mmu_unlocking(m)
        self.mappings.mmu_unlocking(m)
        if m.indirect_shadow_pages:
            self.guest_tables.mmu_unlocking(m)

    def rcu_unlocking(self, m: Machine) -> None:
        self.translations.rcu_unlocking(m)

    def walked_freed_table(self, m: Machine, vcpu: Vcpu, sp: KvmMmuPage, gfn: i64) -> None:
        self.report("freed-table-walk")

    def guest_entered(self, m: Machine, vcpu: Vcpu) -> None:
        self.mappings.guest_entered(m, vcpu)

    def guest_accessed(self, m: Machine, vcpu: Vcpu, gfn: i64, pfn: i64, write: bool) -> None:
        self.accesses.accessed(gfn)
        self.contents.accessed(m, gfn, pfn, write)

    def invalidate_started(self, m: Machine, hva_start: i64, hva_end: i64) -> None:
        self.mappings.invalidate_started(m, hva_start, hva_end)

    def invalidate_ended(self, m: Machine, hva_start: i64, hva_end: i64) -> None:
        self.mappings.invalidate_ended(hva_start, hva_end)

    def page_freed(self, m: Machine, pfn: i64) -> None:
        self.mappings.page_freed(m, pfn)

    def discarded(self, m: Machine, hva: i64) -> None:
        self.dirty.discarded(m, hva)
        self.guest_tables.discarded(m, hva)

    def page_marked(self, m: Machine, pfn: i64, dirty: bool) -> None:
        self.mappings.page_marked(m, pfn)

    def page_put(self, m: Machine, pfn: i64) -> None:
        self.mappings.page_put(m, pfn)

    def flush_young(self, m: Machine) -> None:
        self.accesses.flush_young(m)

    def aged(self, m: Machine, gfn_start: i64, gfn_end: i64, young: bool, clear: bool) -> None:
        self.accesses.aged(m, gfn_start, gfn_end, young, clear)

    def harvest_begun(self, m: Machine) -> None:
        self.dirty.harvest_begun(m)

    def bitmap_read(self, m: Machine, slot: KvmMemorySlot) -> None:
        self.dirty.bitmap_read(m, slot)

    def pml_drained(self, m: Machine, vcpu: Vcpu) -> None:
        self.dirty.drained(vcpu)

    def dirty_log_returned(self, m: Machine, slot: KvmMemorySlot) -> None:
        self.dirty.returned(m, slot)

    def logging_enabled(self, m: Machine, slot: KvmMemorySlot) -> None:
        self.dirty.start(m, slot)

    def pages_copied(self, m: Machine, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        self.dirty.copied(m, slot, first, mask)

    def logging_disabled(self, m: Machine, slot: KvmMemorySlot) -> None:
        self.dirty.stop(slot)

    def slot_zapped(self, m: Machine, slot: KvmMemorySlot) -> None:
        self.mappings.slot_zapped(m, slot)

    def slot_removed(self, m: Machine, slot: KvmMemorySlot) -> None:
        self.dirty.stop(slot)

    def tracked(self, m: Machine, gfn: i64) -> None:
        self.contents.tracked(m, gfn)

    def untracked(self, m: Machine, gfn: i64) -> None:
        self.contents.untracked(gfn)

    def lockdep(self, m: Machine) -> None:
        self.report("lockdep")

    def gpte_written(self, m: Machine, hva: i64, index: i64) -> None:
        self.guest_tables.written(m, hva, index)

    def gpte_write_begun(self, m: Machine, gfn: i64, index: i64) -> None:
        self.guest_tables.write_begun(m, gfn, index)

    def gpte_write_emulated(self, m: Machine, gfn: i64, index: i64) -> None:
        self.guest_tables.write_emulated(m, gfn, index)

    def guest_flush_begun(self, m: Machine, vcpu: Vcpu) -> None:
        self.guest_tables.flush_begins(vcpu)

    def guest_flush_ended(self, m: Machine, vcpu: Vcpu, first: i64, end: i64) -> None:
        self.guest_tables.flush_ends(m, vcpu, first, end)

    def warned(self, m: Machine, text: str) -> None:
        if text != ANNOUNCED_WARN:
            self.report("warn", text)

    def bug(self, m: Machine, text: str) -> None:
        self.report("bug", text)
