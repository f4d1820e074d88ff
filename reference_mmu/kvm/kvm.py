# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm without its architecture: memslots, locks, notifier counts, dirty bitmaps (include/linux/kvm_host.h).

What the common code of virt/kvm/ asks of an architecture stands here as a method that the architecture overrides, with
the kernel's name.  So nothing in this room imports an architecture.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from librt.vecs import vec
from mypy_extensions import i64

from ..bits import bit_ull
from ..changelog.semantics import Semantics
from ..config import Config, SlotConfig
from ..mm.host import PTE_BUSY
from ..mm.mm import Mm
from ..observed import COUNT_CHANGES, COUNT_CHECKS, COUNT_VISITS, EV_READ, EV_WARN, Observed
from ..operations import Call
from ..oracle import Oracle
from ..points import (
    WANT_HOST_PTE,
    WANT_MMU,
    WANT_NOTIFIERS,
    WANT_READ,
    WANT_SLOTS_LOCK,
    WANT_SRCU,
    WANT_WRITE,
    PointTable,
)
from .locks import GracePeriod, ReadSections, RwLock
from .memslots import KvmGfnRange, KvmMemorySlot, search_memslots
from .page_table import PageTable
from .vcpu import KvmVcpu


class Kvm(Mm):
    """A virtual machine without its architecture. Fields carry the kernel's names; mmu_invalidate_* and those from
    memslots on are those of struct kvm."""

    def __init__(
        self, config: Config, points: PointTable, sem: Semantics, actors: i64, operations: i64, oracle: Oracle[Any]
    ) -> None:
        super().__init__(config, actors)
        self.points = points  # of the architecture
        self.sem = sem
        self.oracle = oracle
        self.observed = Observed(operations)
        self.bits: i64 = config.bits
        self.levels: i64 = config.levels
        self.entries: i64 = bit_ull(self.bits)
        self.word_gfns: i64 = config.word_gfns
        self.manual_dirty_log_protect = config.manual_protect
        self.dirty_log_initially_set = config.initially_set

        self.resched: i64 = 0  # of the running operation: regions at which need_resched() is true
        self.resched_every: i64 = 0  # or else, for a long walk: true whenever it has come so many regions further
        self.resched_region: i64 = 0  # where it last was

        self.mmu_lock = RwLock(actors)
        self.srcu = ReadSections(actors)
        self.rcu = ReadSections(actors)
        self.srcu_waiters: list[GracePeriod | None] = [None] * actors
        self.slots_lock = False
        self.rcu_callbacks: list[PageTable] = []

        self.mmu_invalidate_seq: i64 = 0
        self.mmu_invalidate_in_progress: i64 = 0
        self.mmu_invalidate_range_start: i64 = 0
        self.mmu_invalidate_range_end: i64 = 0
        self.mn_active_invalidate_count: i64 = 0
        self.nr_memslots_dirty_logging: i64 = 0
        self.memslots: list[KvmMemorySlot] = []
        self.vcpus: list[KvmVcpu] = []

    def create_memslots(self, config: Config) -> None:
        """Those of the configuration, as userspace has set them up before the program begins."""
        for number, c in enumerate(config.slots):
            slot = self.new_memslot(number, c)
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

    def flush_all(self) -> None:
        """END of a remote flush: all have left guest mode and drop everything before they enter again."""
        for vcpu in self.vcpus:
            vcpu.exits += 1
            vcpu.flush()
        self.oracle.flushed(self)

    # --- geometry ---------------------------------------------------------------------------------------------

    def pages_per_hpage(self, level: i64) -> i64:
        """KVM_PAGES_PER_HPAGE(level)"""
        return bit_ull((level - 1) * self.bits)

    def gfn_round_for_level(self, gfn: i64, level: i64) -> i64:
        return gfn & ~(bit_ull((level - 1) * self.bits) - 1)

    def spte_index(self, gfn: i64, level: i64) -> i64:
        """SPTE_INDEX()"""
        return (gfn >> ((level - 1) * self.bits)) & (self.entries - 1)

    def tlb_key(self, gfn: i64, level: i64) -> i64:
        """Names the page of size `level` around gfn."""
        return (gfn >> ((level - 1) * self.bits)) << 3 | level

    def table_key(self, gfn: i64, level: i64) -> i64:
        """Names the page table of `level` that translates gfn."""
        return (gfn >> (level * self.bits)) << 3 | level

    # --- memslots ---------------------------------------------------------------------------------------------

    def kvm_memslots(self) -> list[KvmMemorySlot]:
        """The active set; __kvm_memslots() checks that SRCU, or slots_lock, keeps it."""
        self.lockdep_assert(self.slots_lock or self.srcu.inside[self.actor] != 0)
        return self.memslots

    def gfn_to_memslot(self, gfn: i64) -> KvmMemorySlot | None:
        """The slot of `gfn`, None for MMIO."""
        return search_memslots(self.kvm_memslots(), gfn)

    def gfn_of_hva(self, hva: i64) -> i64:
        """The gfn that a host page backs, -1: none."""
        for slot in self.memslots:
            if slot.hva <= hva < slot.hva + slot.npages:
                return slot.base_gfn + hva - slot.hva
        return -1

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
            return self.host.pte[self.hva_waiters[actor]] != PTE_BUSY
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
        if slot.log_dirty_pages and len(slot.dirty_bitmap) != 0:
            offset = gfn - slot.base_gfn
            slot.dirty_bitmap[offset // self.word_gfns] |= bit_ull(offset % self.word_gfns)

    def is_dirty(self, slot: KvmMemorySlot, gfn: i64) -> bool:
        """Is the gfn's bit set in the slot's bitmap?"""
        offset = gfn - slot.base_gfn
        return (slot.dirty_bitmap[offset // self.word_gfns] >> (offset % self.word_gfns)) & 1 != 0

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

    def kvm_put_page(self, pfn: i64) -> None:
        """Drop a reference that GUP took."""
        self.oracle.page_put(self, pfn)
        self.host.pages[pfn].kvm_refs -= 1
        self.put_page(pfn)

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
