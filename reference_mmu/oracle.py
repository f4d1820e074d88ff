# SPDX-License-Identifier: GPL-2.0-only
"""What a machine tells whoever watches it. The model never reads anything back from here.

The methods are deadlines and events, named after what just happened; the base class ignores them all, the judges
live in fuzzer/oracle/.  An event that is not reported makes an oracle weaker without a sign, so `paranoid` runs
compare with a full scan.
"""

from __future__ import annotations

from mypy_extensions import i64

from .kvm.memslots import KvmMemorySlot
from .kvm.observer import Observable
from .kvm.page_table import PageTable
from .kvm.vcpu import KvmVcpu


class Oracle:
    """Sees every event of one machine; `attach` is called once, before the first."""

    def attach(self, m: Observable) -> None:
        """The machine is wired; its initial state is complete."""

    def spte_changed(self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64) -> None:
        """KVM stored an SPTE of a linked page table (hardware setting A or D is not reported)."""

    def table_unlinked(self, m: Observable, sp: PageTable) -> None:
        """A page table can no longer be reached from its root."""

    def table_freed(self, m: Observable, sp: PageTable) -> None:
        """Its memory may now be anything."""

    def flushed(self, m: Observable) -> None:
        """A remote flush has ended: every vCPU's cache is empty."""

    def range_flushed(self, m: Observable, first: i64, end: i64) -> None:
        """The same of gfns [first, end) alone."""

    def mmu_unlocking(self, m: Observable) -> None:
        """mmu_lock is about to be released by the running actor."""

    def rcu_unlocking(self, m: Observable) -> None:
        """An RCU read section is about to end."""

    def walked_freed_table(self, m: Observable, vcpu: KvmVcpu, sp: PageTable, gfn: i64) -> None:
        """The page walker, or KVM, read a freed page table."""

    def iterated_freed_table(self, m: Observable, sp: PageTable) -> None:
        """An iterator of KVM's steps on in a page table that has been freed."""

    def guest_entered(self, m: Observable, vcpu: KvmVcpu) -> None:
        """The vCPU is in guest mode: what is requested from now on has to kick it out of there."""

    def guest_accessed(self, m: Observable, vcpu: KvmVcpu, gfn: i64, pfn: i64, write: bool) -> None:
        """A guest load or store reached memory (after it took effect)."""

    def invalidate_started(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        """invalidate_range_start() returned: nothing may map the range until the matching end."""

    def invalidate_ended(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        """invalidate_range_end() is about to let new mappings in."""

    def page_freed(self, m: Observable, pfn: i64) -> None:
        """The last reference to a host page is gone."""

    def page_cleaned(self, m: Observable, pfn: i64) -> None:
        """PG_dirty was taken from a page, whose contents are on their way to the backing store."""

    def discarded(self, m: Observable, hva: i64) -> None:
        """The process threw the contents of `hva` away."""

    def slow_gup(self, m: Observable) -> None:
        """GUP that may sleep was called."""

    def look_up_refused(self, m: Observable, hva: i64, write: bool) -> None:
        """A look-up is about to fail as for memory that is not there; mmap_lock was held until now."""

    def page_taken(self, m: Observable, pfn: i64, pin: bool) -> None:
        """GUP took a reference, or a pin, for KVM."""

    def page_marked(self, m: Observable, pfn: i64, dirty: bool) -> None:
        """KVM marked a struct page accessed, or dirty."""

    def page_put(self, m: Observable, pfn: i64) -> None:
        """KVM is about to drop a reference."""

    def page_unpinned(self, m: Observable, pfn: i64) -> None:
        """KVM is about to drop a pin."""

    def tlb_filled(self, m: Observable, gfn: i64, level: i64, pfn: i64, writable: bool) -> None:
        """KVM, and not hardware, has put an entry into a TLB, for the page or block around gfn that begins at pfn."""

    def shared_with_uv(self, m: Observable, pfn: i64) -> None:
        """The ultravisor is about to be given a page."""

    def vcpu_mapped(self, m: Observable, pfn: i64, pinned: bool) -> None:
        """KVM has mapped a page for itself, by kvm_vcpu_map(), with a pin or without one."""

    def mapped_page_used(self, m: Observable, pfn: i64) -> None:
        """KVM reads or writes a page by its own mapping of it."""

    def vcpu_unmapped(self, m: Observable, pfn: i64) -> None:
        """It has unmapped the page, and let go of it."""

    def apic_page_used(self, m: Observable, vcpu: KvmVcpu) -> None:
        """The vCPU is about to enter the guest with the APIC access page of its VMCS, or is in it and uses that."""

    def vcpu_not_created(self, m: Observable, slot_is_left: bool) -> None:
        """KVM_CREATE_VCPU has failed; a memslot that it, or one before it, has made may be left."""

    def cache_refreshed(self, m: Observable, pfn: i64) -> None:
        """A pfncache has a page that is not stale, and lets go of it with gpc->lock held."""

    def flush_young(self, m: Observable) -> None:
        """The running operation begins a clear_flush_young, the event after which OLD leaves no stale entry behind."""

    def aged(self, m: Observable, gfn_start: i64, gfn_end: i64, young: bool, clear: bool) -> None:
        """An aging event over [gfn_start, gfn_end) was answered."""

    def harvest_begun(self, m: Observable) -> None:
        """KVM_GET_DIRTY_LOG has begun: what is in a PML buffer now belongs into its report."""

    def bitmap_read(self, m: Observable, slot: KvmMemorySlot) -> None:
        """A harvest is about to look at the bitmap of the slot."""

    def pml_drained(self, m: Observable, vcpu: KvmVcpu) -> None:
        """The gfns of a PML buffer are in the bitmaps."""

    def dirty_log_returned(self, m: Observable, slot: KvmMemorySlot) -> None:
        """A dirty-log ioctl (enable, GET, CLEAR) is about to return to userspace."""

    def logging_enabled(self, m: Observable, slot: KvmMemorySlot) -> None:
        """The slot with LOG_DIRTY is active and the ioctl is about to return: userspace copies everything."""

    def pages_copied(self, m: Observable, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        """Userspace copied the reported gfns first + n, n in mask."""

    def logging_disabled(self, m: Observable, slot: KvmMemorySlot) -> None:
        """Userspace stopped the log; its copy is no longer kept up to date."""

    def slot_zapped(self, m: Observable, slot: KvmMemorySlot) -> None:
        """An INVALID slot has been zapped: nothing may map it any more."""

    def range_zap_begun(self, m: Observable) -> None:
        """kvm_zap_gfn_range() has mmu_lock; it may drop it now and then."""

    def range_zapped(self, m: Observable, first: i64, end: i64) -> None:
        """Gfns [first, end) have been zapped and flushed; mmu_lock is still held."""

    def slot_removed(self, m: Observable, slot: KvmMemorySlot) -> None:
        """The slot is gone, and what it logged with it."""

    def tracked(self, m: Observable, gfn: i64) -> None:
        """Write tracking was added and mmu_lock is about to be released."""

    def untracked(self, m: Observable, gfn: i64) -> None:
        """The last write tracking of a gfn is gone."""

    def lockdep(self, m: Observable) -> None:
        """A lock that the running code needs is not held, or one is held where it may sleep."""

    def rmap_passed_over(self, m: Observable) -> None:
        """A walk of a chain of SPTEs goes on where an SPTE was removed, past the one that has taken its place."""

    def gpte_written(self, m: Observable, hva: i64, index: i64) -> None:
        """A guest store has reached entry `index` of the page table in the page at hva."""

    def gpte_write_begun(self, m: Observable, gfn: i64, index: i64) -> None:
        """The emulator has stored the entry; the shadow pages follow."""

    def gpte_write_emulated(self, m: Observable, gfn: i64, index: i64) -> None:
        """They have followed: to the guest, the store is complete."""

    def guest_walk_taken(self, m: Observable) -> None:
        """A fault of an indirect MMU has mmu_lock: what it links from now on is no older than that."""

    def guest_flush_begun(self, m: Observable, vcpu: KvmVcpu) -> None:
        """The guest executes INVLPG or loads CR3: what was stored before must count afterwards."""

    def guest_flush_ended(self, m: Observable, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        """The vCPU is about to go on; [first, end) are the virtual pages that were flushed."""

    def warned(self, m: Observable, text: str) -> None:
        """A WARN of the modelled code fired."""

    def bug(self, m: Observable, text: str) -> None:
        """A BUG_ON of the modelled code fired."""
