# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm without its architecture: memslots, locks, notifier counts, dirty bitmaps (include/linux/kvm_host.h).

What the common code of virt/kvm/ asks of an architecture stands here as a method that the architecture overrides, with
the kernel's name.  So nothing in this room imports an architecture.
"""

from __future__ import annotations

from collections.abc import Generator

from librt.vecs import vec
from mypy_extensions import i64

from ..bits import bit_ull
from ..changelog.semantics import Semantics
from ..config import Config, SlotConfig
from ..observed import (
    COUNT_ACCESSED_MARKS,
    COUNT_CHANGES,
    COUNT_CHECKS,
    COUNT_DIRTY_MARKS,
    COUNT_GUP,
    COUNT_PAGE_LOOKUPS,
    COUNT_PAGE_REFERENCES,
    COUNT_VISITS,
    EV_READ,
    EV_WARN,
    Observed,
)
from ..operations import Call
from ..oracle import Oracle
from ..points import (
    WANT_FILEMAP,
    WANT_FOLIO,
    WANT_HOST_PTE,
    WANT_MMAP_READ,
    WANT_MMAP_WRITE,
    WANT_MMU,
    WANT_NOTIFIERS,
    WANT_READ,
    WANT_SLOTS_LOCK,
    WANT_SRCU,
    WANT_WRITE,
    PointTable,
)
from .gmem import KvmGmem
from .locks import GracePeriod
from .memslots import KvmGfnRange, KvmMemorySlot, search_memslots
from .observer import Observable
from .page_table import PageTable
from .vcpu import KvmVcpu


class Kvm(Observable):
    """A virtual machine without its architecture. Fields carry the kernel's names."""

    def __init__(
        self, config: Config, points: PointTable, sem: Semantics, actors: i64, operations: i64, oracle: Oracle
    ) -> None:
        super().__init__(config, points, actors)
        self.sem = sem
        self.oracle = oracle
        self.observed = Observed(operations)
        self.allow_unsafe_mappings = config.unsafe_mappings is True
        self.manual_dirty_log_protect = config.manual_protect
        self.dirty_log_initially_set = config.initially_set

        self.resched: i64 = 0  # of the running operation: regions at which need_resched() is true
        self.resched_every: i64 = 0  # or else, for a long walk: true whenever it has come so many regions further
        self.resched_region: i64 = 0  # where it last was

        self.srcu_waiters: list[GracePeriod | None] = [None] * actors
        self.slots_lock = False
        self.nr_memslots_dirty_logging: i64 = 0

    def create_memslots(self, config: Config) -> None:
        """Those of the configuration, as userspace has set them up before the program begins."""
        if self.gmem_pages != 0:
            self.gmem = KvmGmem(config.hva_pages, self.gmem_pages)
        for number, c in enumerate(config.slots):
            slot = self.new_memslot(number, c)
            if self.gmem is not None and slot.kvm_slot_can_be_private():
                self.gmem.bind(slot)
                for gfn in range(slot.base_gfn, slot.end_gfn()):
                    self.mem_attr_array[gfn] = True
            if c.logging:
                slot.log_dirty_pages = True
                slot.dirty_bitmap = self.alloc_bitmap(slot)
                if self.dirty_log_initially_set:
                    self.set_all_dirty(slot)
                self.nr_memslots_dirty_logging += 1
            self.memslots.append(slot)

    def new_memslot(self, number: i64, c: SlotConfig) -> KvmMemorySlot:
        """A slot that is not yet installed."""
        slot = KvmMemorySlot(number, c.base, c.npages, c.hva, c.readonly)
        if self.gmem is not None:
            slot.gmem_pgoff = c.gmem_pgoff
        self.kvm_arch_prepare_memory_region(slot)
        return slot

    # --- what the architecture does ---------------------------------------------------------------------------

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Zap the range in all page tables; True if the caller owes a flush. mmu_lock held for write."""
        raise NotImplementedError

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Was a page of the range accessed? Forget it. mmu_lock held for write."""
        raise NotImplementedError

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Was a page of the range accessed? Changes nothing. mmu_lock held for write."""
        raise NotImplementedError

    def kvm_arch_pre_set_memory_attributes(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        """Zap what is about to become private, or shared; True if the caller owes a flush. mmu_lock held for write."""
        raise NotImplementedError

    def elides_tlb_flush_if_young(self) -> bool:
        """Does the architecture select CONFIG_KVM_ELIDE_TLB_FLUSH_IF_YOUNG?"""
        return False

    def kvm_arch_prepare_memory_region(self, slot: KvmMemorySlot) -> None:
        """Make what the architecture keeps for a slot that is about to be installed."""

    def kvm_arch_free_memslot(self, slot: KvmMemorySlot) -> None:
        """Drop what the architecture keeps for a slot that is gone."""

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        """Zap an INVALID slot: afterwards nobody maps, or can use, anything of it."""
        raise NotImplementedError

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """What follows from new flags, once the slot is active."""
        raise NotImplementedError

    def kvm_arch_sync_dirty_log(self) -> Generator[int, None, None]:
        """Bring what hardware has logged by itself on its way into the bitmaps."""
        raise NotImplementedError

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        """Make writes to the masked gfns visible again. mmu_lock held for write."""
        raise NotImplementedError

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        """Make the flow of an operation, to be run by `actor`. vCPU actors come first, so an actor's number is its
        vCPU's."""
        raise NotImplementedError

    def can_lock_mmu(self) -> bool:
        """Is mmu_lock free for whoever loads or drops a root?"""
        return self.mmu_lock.state == 0

    def request_tlb_flush(self) -> None:
        """BEGIN of a remote flush, where vCPUs may acknowledge by themselves, one by one."""

    def await_tlb_flush(self) -> None:
        """END of it: all have acknowledged, and dropped everything."""
        self.flush_all()

    def flush_all(self) -> None:
        """All have left guest mode and drop everything before they enter again."""
        for vcpu in self.vcpus:
            vcpu.exits += 1
            vcpu.flush()
        self.oracle.flushed(self)

    # --- memslots ---------------------------------------------------------------------------------------------

    def kvm_memslots(self) -> list[KvmMemorySlot]:
        """The active set; __kvm_memslots() checks that SRCU, or slots_lock, keeps it."""
        self.lockdep_assert(self.slots_lock or self.srcu.inside[self.actor] != 0)
        return self.memslots

    def gfn_to_memslot(self, gfn: i64) -> KvmMemorySlot | None:
        """The slot of `gfn`, None for MMIO."""
        return search_memslots(self.kvm_memslots(), gfn)

    def use_memslot(self, slot: KvmMemorySlot) -> None:
        """Something of the slot is read or written, as KASAN would see it."""
        self.bug_on(slot.freed, "KASAN: use-after-free of a memslot")

    def kvm_mem_is_private(self, gfn: i64) -> bool:
        """kvm_mem_is_private()"""
        return gfn in self.mem_attr_array

    # --- waiting ----------------------------------------------------------------------------------------------

    def can_run(self, actor: i64, want: i64) -> bool:
        """Is there what `actor` waits for, WANT_*? Waiting for a lock means: not runnable."""
        if want == WANT_READ:
            return self.mmu_lock.state >= 0
        if want == WANT_WRITE:
            return self.mmu_lock.state == 0
        if want == WANT_MMU:
            return self.can_lock_mmu()
        if want == WANT_SRCU:
            return self.srcu.passed(self.srcu_waiters[actor])
        if want == WANT_NOTIFIERS:
            return self.mn_active_invalidate_count == 0
        if want == WANT_SLOTS_LOCK:
            return not self.slots_lock
        if want == WANT_HOST_PTE:
            return not self.host.fault_waits(self.hva_waiters[actor])
        if want == WANT_FOLIO:
            return not self.host.is_locked(self.hva_waiters[actor])
        if want == WANT_MMAP_READ:
            return self.mmap_lock.can_read()
        if want == WANT_MMAP_WRITE:
            return self.mmap_lock.state == 0
        if want == WANT_FILEMAP:
            return self.gmem is None or not self.gmem.invalidate_lock
        return True

    def synchronize_srcu(self) -> None:
        """Start of a grace period; the caller yields a point that waits for it."""
        self.might_sleep()
        self.srcu_waiters[self.actor] = self.srcu.start_grace_period()

    # --- locks ------------------------------------------------------------------------------------------------

    def read_lock(self) -> None:
        self.mmu_lock.read_lock(self.actor)

    def read_unlock(self) -> None:
        self.oracle.mmu_unlocking(self)
        self.mmu_lock.read_unlock(self.actor)

    def write_lock(self) -> None:
        self.mmu_lock.write_lock(self.actor)

    def write_unlock(self) -> None:
        self.oracle.mmu_unlocking(self)
        self.mmu_lock.write_unlock(self.actor)

    def rcu_read_lock(self) -> None:
        self.rcu.lock(self.actor)

    def rcu_read_unlock(self) -> None:
        self.oracle.rcu_unlocking(self)
        self.rcu.unlock(self.actor)
        if self.rcu_callbacks:
            self.rcu_do_batch()

    def call_rcu(self, sp: PageTable) -> None:
        """call_rcu(): the table is freed when every read section of now has ended."""
        sp.grace_period = self.rcu.start_grace_period()
        self.rcu_callbacks.append(sp)
        self.rcu_do_batch()

    def rcu_do_batch(self) -> None:
        """Free what has waited long enough. Every later grace period waits for the sections that the oldest one waits
        for, too, so the first that has to wait ends it."""
        done = 0
        while done < len(self.rcu_callbacks) and self.rcu.passed(self.rcu_callbacks[done].grace_period):
            self.free_table(self.rcu_callbacks[done])
            done += 1
        del self.rcu_callbacks[:done]

    def free_table(self, sp: PageTable) -> None:
        """Give the page of a page table back."""
        self.bug_on(sp.freed, "free_table: page table is free already")
        sp.freed = True
        self.oracle.table_freed(self, sp)

    # --- what a debug kernel checks ---------------------------------------------------------------------------

    def lockdep_assert(self, held: bool) -> None:
        """lockdep_assert_held() and the like: the oracle is told if what must be held is not."""
        if not held:
            self.oracle.lockdep(self)

    def might_sleep(self) -> None:
        """might_sleep(): neither in an RCU section nor under mmu_lock, a spinning lock."""
        self.lockdep_assert(self.mmu_lock.held[self.actor] == 0 and self.rcu.inside[self.actor] == 0)

    def warn_on(self, condition: bool, text: str) -> bool:
        """WARN_ON_ONCE(condition)"""
        if condition:
            self.record(EV_WARN, 0)
            self.oracle.warned(self, text)
        return condition

    def bug_on(self, condition: bool, text: str) -> None:
        if condition:
            self.oracle.bug(self, text)

    # --- dirty log --------------------------------------------------------------------------------------------

    def alloc_bitmap(self, slot: KvmMemorySlot) -> vec[i64]:
        words = (slot.npages + self.word_gfns - 1) // self.word_gfns
        return vec[i64]([0] * words)

    def set_all_dirty(self, slot: KvmMemorySlot) -> None:
        """bitmap_set(): userspace learns that all has to be copied, KVM protects lazily, at each CLEAR."""
        for offset in range(slot.npages):
            slot.dirty_bitmap[offset // self.word_gfns] |= bit_ull(offset % self.word_gfns)

    def no_bitmap(self) -> vec[i64]:
        return vec[i64]([])

    def mark_page_dirty_in_slot(self, slot: KvmMemorySlot, gfn: i64) -> None:
        self.use_memslot(slot)
        if slot.log_dirty_pages and len(slot.dirty_bitmap) != 0:
            offset = gfn - slot.base_gfn
            if offset < 0 or offset >= slot.npages:
                self.bug_on(True, "KASAN: mark_page_dirty_in_slot: out of bounds")
                return
            slot.dirty_bitmap[offset // self.word_gfns] |= bit_ull(offset % self.word_gfns)

    # --- guest and host pages ---------------------------------------------------------------------------------

    def guest_access(self, vcpu: KvmVcpu, gfn: i64, pfn: i64, write: bool) -> None:
        """A load or store of the running operation reaches page `pfn`."""
        self.touch_page(pfn, write)
        self.oracle.guest_accessed(self, vcpu, gfn, pfn, write)

    def touch_page(self, pfn: i64, write: bool) -> None:
        """A store stamps the page, a load tells the stamp."""
        page = self.host.pages[pfn]
        if write:
            page.data = self.uid + 1
            self.host.reference[page.hva] = self.uid + 1
        else:
            self.record(EV_READ, page.data)

    def page_taken(self, pfn: i64, pin: bool) -> None:
        self.count_page_reference()
        self.oracle.page_taken(self, pfn, pin)

    def kvm_put_page(self, pfn: i64) -> None:
        """put_page() of a page that was taken: drop a reference of KVM's."""
        self.oracle.page_put(self, pfn)
        self.host.folio(pfn).kvm_refs -= 1
        self.put_page(pfn)

    def kvm_unpin_page(self, pfn: i64) -> None:
        """unpin_user_page() of a page that was pinned."""
        self.oracle.page_unpinned(self, pfn)
        self.unpin_page(pfn)

    def slow_gup(self) -> None:
        self.oracle.slow_gup(self)

    def page_cleaned(self, pfn: i64) -> None:
        self.oracle.page_cleaned(self, pfn)

    def page_freed(self, pfn: i64) -> None:
        self.oracle.page_freed(self, pfn)

    def discarded(self, hva: i64) -> None:
        self.oracle.discarded(self, hva)

    # --- what is observed -------------------------------------------------------------------------------------

    def record(self, kind: i64, value: i64) -> None:
        """Append to what the running operation did."""
        self.observed.record(self.uid, kind, value)

    def count_change(self) -> None:
        self.observed.count(self.uid, COUNT_CHANGES)

    def count_check(self) -> None:
        self.observed.count(self.uid, COUNT_CHECKS)

    def count_visit(self) -> None:
        self.observed.count(self.uid, COUNT_VISITS)

    def count_accessed_mark(self) -> None:
        self.observed.count(self.uid, COUNT_ACCESSED_MARKS)

    def count_dirty_mark(self) -> None:
        self.observed.count(self.uid, COUNT_DIRTY_MARKS)

    def count_gup(self) -> None:
        self.observed.count(self.uid, COUNT_GUP)

    def count_page_reference(self) -> None:
        self.observed.count(self.uid, COUNT_PAGE_REFERENCES)

    def count_page_lookup(self) -> None:
        self.observed.count(self.uid, COUNT_PAGE_LOOKUPS)
