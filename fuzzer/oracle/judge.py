# SPDX-License-Identifier: GPL-2.0-only
"""The judge of one run: hands each event to the oracles that care and collects what they report."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.oracle.aging import Accesses
from fuzzer.oracle.contents import Contents
from fuzzer.oracle.dirty import DirtyLog
from fuzzer.oracle.guest_tables import GuestTables
from fuzzer.oracle.mappings import Mappings
from fuzzer.oracle.translations import Translations
from reference_mmu.machine import Machine
from reference_mmu.memslots import KvmMemorySlot
from reference_mmu.oracle import Oracle
from reference_mmu.page_table import KvmMmuPage
from reference_mmu.tlb import Vcpu

# The WARN that tdp-fault-warn-flush-mmuw adds on purpose: an effect of that patch, not a violation.
ANNOUNCED_WARN = "tdp_mmu_map: fault cleared MMU_WRITABLE"


class Violation:
    """The first time an invariant broke: in which operation, where that actor last stood, and where the actor stood
    that ran before it (the other half of the race). `detail`: what the model itself said, if it was the one to find
    out."""

    def __init__(self, invariant: str, uid: int, point: int, other_point: int, step: int, detail: str) -> None:
        self.invariant = invariant
        self.uid = uid
        self.point = point
        self.other_point = other_point
        self.step = step
        self.detail = detail


class Judge(Oracle):
    """All oracles of one machine."""

    def __init__(self, actors: int) -> None:
        self.violations: dict[str, Violation] = {}
        self.facts: dict[str, int] = {}  # effect -> uid of the first operation that showed it; legal, but worth saying
        self.translations = Translations(self, actors)
        self.dirty = DirtyLog(self)
        self.contents = Contents(self)
        self.mappings = Mappings(self)
        self.accesses = Accesses(self)
        self.guest_tables = GuestTables(self)
        self.at: vec[i64] = vec[i64]([0] * actors)
        self.current: i64 = 0
        self.previous: i64 = 0
        self.turns: i64 = 0

    def attach(self, m: Machine) -> None:
        self.m = m
        for slot in m.memslots:
            if slot.log_dirty_pages:
                self.dirty.start(m, slot)

    def watch(self, at: vec[i64]) -> None:
        """`at` is the executor's own table of where each actor stands."""
        self.at = at

    def turn_of(self, actor: i64) -> None:
        """`actor` is about to run to its next point."""
        self.turns += 1
        if actor != self.current:
            self.previous = self.current
            self.current = actor

    def report(self, invariant: str, detail: str = "") -> None:
        """An invariant broke now; only the first time counts."""
        if invariant not in self.violations:
            point = int(self.at[self.current])
            other = int(self.at[self.previous])
            self.violations[invariant] = Violation(invariant, int(self.m.uid), point, other, int(self.turns), detail)

    def note(self, effect: str) -> None:
        """A legal but remarkable thing happened, seen in this model alone."""
        if effect not in self.facts:
            self.facts[effect] = int(self.m.uid)

    def finish(self) -> None:
        """The program has ended: judge what is left."""
        self.dirty.finish(self.m)
        self.contents.finish(self.m)
        self.mappings.finish(self.m)

    def spte_changed(self, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        self.translations.spte_changed(self.m, sp, index, old_spte, new_spte)
        self.mappings.spte_changed(self.m, sp, index, old_spte, new_spte)
        self.accesses.spte_changed(self.m, sp, index, old_spte, new_spte)

    def table_unlinked(self, sp: KvmMmuPage) -> None:
        self.translations.table_unlinked(self.m, sp)

    def table_freed(self, sp: KvmMmuPage) -> None:
        self.translations.table_freed(self.m, sp)
        self.mappings.table_freed(sp)

    def flushed(self) -> None:
        self.translations.flushed()

    def mmu_unlocking(self, actor: i64) -> None:
        self.translations.mmu_unlocking(self.m, actor)
        self.mappings.mmu_unlocking(self.m, actor)
        if self.m.indirect_shadow_pages:
            self.guest_tables.mmu_unlocking(self.m)

    def rcu_unlocking(self, actor: i64) -> None:
        self.translations.rcu_unlocking(self.m, actor)

    def walked_freed_table(self, vcpu: Vcpu, sp: KvmMmuPage, gfn: i64) -> None:
        self.report("freed-table-walk")

    def guest_entered(self, vcpu: Vcpu) -> None:
        self.mappings.guest_entered(self.m, vcpu)

    def guest_accessed(self, vcpu: Vcpu, gfn: i64, pfn: i64, write: bool) -> None:
        self.accesses.accessed(gfn)
        self.contents.accessed(self.m, gfn, pfn, write)

    def invalidate_started(self, hva_start: i64, hva_end: i64) -> None:
        self.mappings.invalidate_started(self.m, hva_start, hva_end)

    def invalidate_ended(self, hva_start: i64, hva_end: i64) -> None:
        self.mappings.invalidate_ended(hva_start, hva_end)

    def page_freed(self, pfn: i64) -> None:
        self.mappings.page_freed(self.m, pfn)

    def discarded(self, hva: i64) -> None:
        self.dirty.discarded(self.m, hva)
        self.guest_tables.discarded(self.m, hva)

    def page_marked(self, pfn: i64, dirty: bool) -> None:
        self.mappings.page_marked(self.m, pfn)

    def page_put(self, pfn: i64) -> None:
        self.mappings.page_put(self.m, pfn)

    def flush_young(self) -> None:
        self.accesses.flush_young(self.m)

    def aged(self, gfn_start: i64, gfn_end: i64, young: bool, clear: bool) -> None:
        self.accesses.aged(self.m, gfn_start, gfn_end, young, clear)

    def harvest_begun(self) -> None:
        self.dirty.harvest_begun(self.m)

    def bitmap_read(self, slot: KvmMemorySlot) -> None:
        self.dirty.bitmap_read(self.m, slot)

    def pml_drained(self, vcpu: Vcpu) -> None:
        self.dirty.drained(vcpu)

    def dirty_log_returned(self, slot: KvmMemorySlot) -> None:
        self.dirty.returned(self.m, slot)

    def logging_enabled(self, slot: KvmMemorySlot) -> None:
        self.dirty.start(self.m, slot)

    def pages_copied(self, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        self.dirty.copied(self.m, slot, first, mask)

    def logging_disabled(self, slot: KvmMemorySlot) -> None:
        self.dirty.stop(slot)

    def slot_zapped(self, slot: KvmMemorySlot) -> None:
        self.mappings.slot_zapped(self.m, slot)

    def slot_removed(self, slot: KvmMemorySlot) -> None:
        self.dirty.stop(slot)

    def tracked(self, gfn: i64) -> None:
        self.contents.tracked(self.m, gfn)

    def untracked(self, gfn: i64) -> None:
        self.contents.untracked(gfn)

    def lockdep(self) -> None:
        self.report("lockdep")

    def gpte_written(self, hva: i64, index: i64) -> None:
        self.guest_tables.written(self.m, hva, index)

    def gpte_write_begun(self, gfn: i64, index: i64) -> None:
        self.guest_tables.write_begun(self.m, gfn, index)

    def gpte_write_emulated(self, gfn: i64, index: i64) -> None:
        self.guest_tables.write_emulated(self.m, gfn, index)

    def guest_flush_begun(self, vcpu: Vcpu) -> None:
        self.guest_tables.flush_begins(vcpu)

    def guest_flush_ended(self, vcpu: Vcpu, first: i64, end: i64) -> None:
        self.guest_tables.flush_ends(self.m, vcpu, first, end)

    def warned(self, text: str) -> None:
        if text != ANNOUNCED_WARN:
            self.report("warn", text)

    def bug(self, text: str) -> None:
        self.report("bug", text)
