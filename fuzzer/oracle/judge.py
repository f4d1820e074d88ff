# SPDX-License-Identifier: GPL-2.0-only
"""The judge of one run: hands each event to the oracles that care and collects what they report."""

from __future__ import annotations

from mypy_extensions import i64

from fuzzer.oracle.aging import Accesses
from fuzzer.oracle.contents import Contents
from fuzzer.oracle.dirty import DirtyLog
from fuzzer.oracle.host_rights import HostRights
from fuzzer.oracle.invariants import Invariant
from fuzzer.oracle.kernel_maps import KernelMaps
from fuzzer.oracle.mappings import Mappings
from fuzzer.oracle.page_marks import PageMarks
from fuzzer.oracle.references import References
from fuzzer.oracle.reports import Fact, Reports, Violation
from fuzzer.oracle.translations import Translations
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.kvm.observer import Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vcpu import KvmVcpu
from reference_mmu.mm.host import PTE_HWPOISON
from reference_mmu.oracle import Oracle


class Judge(Oracle):
    """The oracles of a machine of any architecture. One with more of its own puts a class on top: x86_judge.py."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.translations = Translations(self.reports)
        self.dirty = DirtyLog(self.reports)
        self.contents = Contents(self.reports)
        self.mappings = Mappings(self.reports)
        self.accesses = Accesses(self.reports)
        self.references = References(self.reports)
        self.kernel_maps = KernelMaps(self.reports, self.references)
        self.page_marks = PageMarks(self.reports, self.references)
        self.host_rights = HostRights(self.reports)

    @property
    def violations(self) -> dict[str, Violation]:
        return self.reports.violations

    @property
    def facts(self) -> dict[Fact, int]:
        return self.reports.facts

    def report(self, invariant: Invariant, detail: str = "") -> None:
        self.reports.report(invariant, detail)

    def attach(self, m: Observable) -> None:
        self.page_marks.attach(m)
        for slot in m.memslots:
            if slot.log_dirty_pages:
                self.dirty.start(m, slot)

    def finish(self, m: Observable) -> None:
        """The program has ended: judge what is left."""
        self.dirty.finish(m)
        self.contents.finish(m)
        self.mappings.finish(m)
        self.references.finish(m)

    def spte_changed(self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64) -> None:
        was, now = m.pte_kind(old_spte, sp.level), m.pte_kind(new_spte, sp.level)
        self.translations.spte_changed(m, sp, index, old_spte, new_spte, was, now)
        self.mappings.spte_changed(m, sp, index, old_spte, new_spte, was, now)
        self.accesses.spte_changed(m, sp, index, old_spte, was, now)
        self.page_marks.spte_changed(m, sp, old_spte, new_spte, was, now)
        self.host_rights.spte_changed(m, sp, index, old_spte, new_spte, was, now)
        self.entry_changed(m, sp, index, old_spte, new_spte, was, now)

    def entry_changed(
        self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        """spte_changed() for the oracles of one architecture, with what the entry was and is: PTE_*."""

    def table_unlinked(self, m: Observable, sp: PageTable) -> None:
        self.translations.table_unlinked(m, sp)

    def table_freed(self, m: Observable, sp: PageTable) -> None:
        self.translations.table_freed(m, sp)
        self.mappings.table_freed(m, sp)

    def flushed(self, m: Observable) -> None:
        self.translations.flushed()

    def range_flushed(self, m: Observable, first: i64, end: i64) -> None:
        self.translations.range_flushed(first, end)

    def mmu_unlocking(self, m: Observable) -> None:
        self.translations.mmu_unlocking(m)
        self.mappings.mmu_unlocking(m)
        self.page_marks.mmu_unlocking(m)

    def rcu_unlocking(self, m: Observable) -> None:
        self.translations.rcu_unlocking(m)

    def walked_freed_table(self, m: Observable, vcpu: KvmVcpu, sp: PageTable, gfn: i64) -> None:
        self.report("freed-table-walk")

    def iterated_freed_table(self, m: Observable, sp: PageTable) -> None:
        self.report("freed-table-walk")

    def guest_entered(self, m: Observable, vcpu: KvmVcpu) -> None:
        self.mappings.guest_entered(m, vcpu)

    def guest_accessed(self, m: Observable, vcpu: KvmVcpu, gfn: i64, pfn: i64, write: bool) -> None:
        self.accesses.accessed(gfn)
        self.contents.accessed(m, gfn, pfn, write)

    def invalidate_started(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        self.mappings.invalidate_started(m, hva_start, hva_end)
        self.references.invalidate_started(m, hva_start, hva_end)

    def invalidate_ended(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        self.mappings.invalidate_ended(hva_start, hva_end)

    def page_freed(self, m: Observable, pfn: i64) -> None:
        self.mappings.page_freed(m, pfn)

    def discarded(self, m: Observable, hva: i64) -> None:
        self.dirty.discarded(m, hva)

    def page_cleaned(self, m: Observable, pfn: i64) -> None:
        self.page_marks.cleaned(m, pfn)

    def slow_gup(self, m: Observable) -> None:
        if m.mmu_lock.held[m.actor] != 0:
            self.report("sleeping-gup")

    def look_up_refused(self, m: Observable, hva: i64, write: bool) -> None:
        if m.host.vma_is_valid(hva, write) and m.host.pte[hva] != PTE_HWPOISON:
            self.report("refused-memory")

    def page_taken(self, m: Observable, pfn: i64, pin: bool) -> None:
        self.references.taken(m, pfn)

    def page_marked(self, m: Observable, pfn: i64, dirty: bool) -> None:
        if not (self.kernel_maps.any and self.kernel_maps.takes_mark(m, pfn)):
            self.page_marks.marked(m, pfn, dirty)

    def page_put(self, m: Observable, pfn: i64) -> None:
        self.references.dropped(m, pfn)
        if self.kernel_maps.any:
            self.kernel_maps.released(m, pfn)

    def page_unpinned(self, m: Observable, pfn: i64) -> None:
        self.references.dropped(m, pfn)
        self.kernel_maps.released(m, pfn)

    def tlb_filled(self, m: Observable, gfn: i64, level: i64, pfn: i64, writable: bool) -> None:
        self.host_rights.tlb_filled(m, gfn, level, pfn, writable)

    def shared_with_uv(self, m: Observable, pfn: i64) -> None:
        if self.references.hold_of(m, pfn) is None:
            self.report("shared-without-page")

    def vcpu_mapped(self, m: Observable, pfn: i64, pinned: bool) -> None:
        self.kernel_maps.mapped(m, pfn, pinned)

    def mapped_page_used(self, m: Observable, pfn: i64) -> None:
        self.kernel_maps.used(m, pfn)

    def vcpu_unmapped(self, m: Observable, pfn: i64) -> None:
        self.kernel_maps.unmapped(m, pfn)

    def cache_refreshed(self, m: Observable, pfn: i64) -> None:
        self.kernel_maps.cache_refreshed(m, pfn)

    def flush_young(self, m: Observable) -> None:
        self.accesses.flush_young(m)

    def aged(self, m: Observable, gfn_start: i64, gfn_end: i64, young: bool, clear: bool) -> None:
        self.accesses.aged(m, gfn_start, gfn_end, young, clear)

    def harvest_begun(self, m: Observable) -> None:
        self.dirty.harvest_begun(m)

    def bitmap_read(self, m: Observable, slot: KvmMemorySlot) -> None:
        self.dirty.bitmap_read(m, slot)

    def pml_drained(self, m: Observable, vcpu: KvmVcpu) -> None:
        self.dirty.drained(vcpu)

    def dirty_log_returned(self, m: Observable, slot: KvmMemorySlot) -> None:
        self.dirty.returned(m, slot)

    def logging_enabled(self, m: Observable, slot: KvmMemorySlot) -> None:
        self.dirty.start(m, slot)

    def pages_copied(self, m: Observable, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        self.dirty.copied(m, slot, first, mask)

    def logging_disabled(self, m: Observable, slot: KvmMemorySlot) -> None:
        self.dirty.stop(slot)

    def slot_zapped(self, m: Observable, slot: KvmMemorySlot) -> None:
        self.mappings.slot_zapped(m, slot)

    def range_zap_begun(self, m: Observable) -> None:
        self.mappings.range_zap_begun()

    def range_zapped(self, m: Observable, first: i64, end: i64) -> None:
        self.mappings.range_zapped(m, first, end)

    def slot_removed(self, m: Observable, slot: KvmMemorySlot) -> None:
        self.dirty.stop(slot)

    def tracked(self, m: Observable, gfn: i64) -> None:
        self.contents.tracked(m, gfn)

    def untracked(self, m: Observable, gfn: i64) -> None:
        self.contents.untracked(gfn)

    def lockdep(self, m: Observable) -> None:
        self.report("lockdep")

    def warned(self, m: Observable, text: str) -> None:
        self.report("warn", text)

    def bug(self, m: Observable, text: str) -> None:
        self.report("bug", text)
