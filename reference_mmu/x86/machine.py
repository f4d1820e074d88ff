# SPDX-License-Identifier: GPL-2.0-only
"""One modelled host and VM: struct kvm with its page tables, vCPUs, memslots and locks, and the host below it."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64

from ..bits import bit_ull
from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.locks import GracePeriod, ReadSections, RwLock
from ..kvm.memslots import KvmMemorySlot, alloc_lpage_info, search_memslots
from ..mm.mm import PTE_BUSY, Host
from ..observed import COUNT_CHANGES, COUNT_CHECKS, COUNT_PML, COUNT_VISITS, EV_READ, EV_WARN, Observed
from ..oracle import Oracle
from .page_table import KvmMmuPage
from .points import WANT_HOST_PTE, WANT_MMU, WANT_NOTIFIERS, WANT_READ, WANT_SLOTS_LOCK, WANT_SRCU, WANT_WRITE, WANTS
from .shadow_mmu.gpte import make_gpte
from .shadow_mmu.unsync import mmu_try_to_unsync_pages
from .spte import (
    SHADOW_NONPRESENT_VALUE,
    SpteMasks,
    check_spte_writable_invariants,
    is_last_spte,
    is_shadow_present_pte,
)
from .tlb import Vcpu


class Machine:
    """A run's whole state. `actor` and `uid` say who runs now and which operation; the executor sets them.

    Fields carry the kernel's names; mmu_invalidate_* are those of struct kvm.
    """

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        self.config = config
        self.sem = sem
        self.oracle = oracle
        self.masks = SpteMasks(config.paging, sem)
        self.bits: i64 = config.bits
        self.levels: i64 = config.levels
        self.entries: i64 = bit_ull(self.bits)
        # The root level holds no leaves, and hardware has none above 1G.
        self.max_huge_level: i64 = min(3, config.levels - 1)
        self.word_gfns: i64 = config.word_gfns
        self.pml_entries: i64 = config.pml_entries
        self.tdp_mmu_enabled = config.mmu == "tdp"
        self.root_role_direct = True  # root_role.direct of every vCPU
        self.enable_pml = config.paging == "ept-ad"
        self.eager_page_split = config.eager_split
        self.manual_dirty_log_protect = config.manual_protect
        self.dirty_log_initially_set = config.initially_set
        self.prove_mmu = config.prove_mmu

        self.actor: i64 = 0
        self.uid: i64 = 0
        self.resched: i64 = 0  # of the running operation: regions at which need_resched() is true
        self.resched_every: i64 = 0  # or else, for a long walk: true whenever it has come so many regions further
        self.resched_region: i64 = 0  # where it last was
        self.observed = Observed(operations)

        self.mmu_lock = RwLock(actors)
        self.srcu = ReadSections(actors)
        self.rcu = ReadSections(actors)
        self.srcu_waiters: list[GracePeriod | None] = [None] * actors
        self.hva_waiters: vec[i64] = vec[i64]([0] * actors)
        self.slots_lock = False
        self.rcu_callbacks: list[KvmMmuPage] = []

        self.mmu_invalidate_seq: i64 = 0
        self.mmu_invalidate_in_progress: i64 = 0
        self.mmu_invalidate_range_start: i64 = 0
        self.mmu_invalidate_range_end: i64 = 0
        self.mn_active_invalidate_count: i64 = 0
        self.nr_memslots_dirty_logging: i64 = 0
        self.tracked_gfns: dict[int, int] = {}  # gfn_write_track counts
        self.gfns_tracked_for_device: dict[int, int] = {}  # those not due to shadow pages
        self.fast_pf_marking: list[int] = []  # gfns between the store and the bit of fast_page_fault()

        self.page_tables: list[KvmMmuPage] = []
        self.tdp_mmu_roots: list[KvmMmuPage] = []
        self.active_mmu_pages: list[KvmMmuPage] = []  # shadow MMU, oldest first
        self.rmap: dict[int, list[tuple[KvmMmuPage, int]]] = {}
        self.mmu_valid_gen: i64 = 0
        self.indirect_shadow_pages: i64 = 0
        self.dummy_root: KvmMmuPage | None = None  # kvm_mmu_get_dummy_root(), of an indirect MMU
        self.unsync_calls: i64 = 0  # of mmu_try_to_unsync_pages()
        self.harvest_protects_huge = False  # inside the huge-page write protection of a harvest (the oracle exempts it)

        self.host = Host(config.backing, self.bits)
        self.memslots: list[KvmMemorySlot] = []
        self.vcpus = [Vcpu(number) for number in range(config.vcpus)]
        self.create_memslots(config)
        self.create_guest_tables(config)
        oracle.attach(self)

    def create_memslots(self, config: Config) -> None:
        for number, c in enumerate(config.slots):
            slot = KvmMemorySlot(number, c.base, c.npages, c.hva, c.readonly)
            alloc_lpage_info(self, slot)
            if c.logging:
                slot.log_dirty_pages = True
                slot.dirty_bitmap = self.alloc_bitmap(slot)
                if self.dirty_log_initially_set:
                    self.set_all_dirty(slot)
                self.nr_memslots_dirty_logging += 1
            self.memslots.append(slot)
        for vcpu in self.vcpus:
            vcpu.pml_enabled = self.enable_pml and self.nr_memslots_dirty_logging > 0

    def create_guest_tables(self, config: Config) -> None:
        """What the guest has set up before the program begins."""
        if config.cr3 < 0:
            return
        self.root_role_direct = False
        self.host.keep_words()
        for pte in config.guest_ptes:
            slot = search_memslots(self, pte.table)
            assert slot is not None
            hva = slot.hva + pte.table - slot.base_gfn
            gpte = make_gpte(pte.gfn, pte.writable, pte.executable, pte.accessed, pte.dirty)
            self.host.words[hva * self.entries + pte.index] = gpte
        self.dummy_root = KvmMmuPage(-1, self.levels, 0, self.entries, SHADOW_NONPRESENT_VALUE)
        for vcpu in self.vcpus:
            vcpu.cr3 = config.cr3
            vcpu.guest_mode = self.masks.ept

    # --- geometry -------------------------------------------------------------------------------------------

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

    # --- waiting --------------------------------------------------------------------------------------------

    def wants(self, point: i64) -> i64:
        """What an actor waits for at a point, WANT_*; 0: nothing."""
        return WANTS[point]

    def can_run(self, actor: i64, want: i64) -> bool:
        """Is there what `actor` waits for, WANT_*? Waiting for a lock means: not runnable."""
        if want == WANT_READ:
            return self.mmu_lock.state >= 0
        if want == WANT_WRITE:
            return self.mmu_lock.state == 0
        if want == WANT_MMU:
            return self.mmu_lock.state >= 0 if self.tdp_mmu_enabled else self.mmu_lock.state == 0
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

    # --- locks ----------------------------------------------------------------------------------------------

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

    def call_rcu(self, sp: KvmMmuPage) -> None:
        """call_rcu(&sp->rcu_head, tdp_mmu_free_sp_rcu_callback)"""
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

    # --- what a debug kernel checks -------------------------------------------------------------------------

    def lockdep_assert(self, held: bool) -> None:
        """lockdep_assert_held() and the like: the oracle is told if what must be held is not."""
        if not held:
            self.oracle.lockdep(self)

    def might_sleep(self) -> None:
        """might_sleep(): neither in an RCU section nor under mmu_lock, a spinning lock."""
        self.lockdep_assert(self.mmu_lock.held[self.actor] == 0 and self.rcu.inside[self.actor] == 0)

    # --- page tables ----------------------------------------------------------------------------------------

    def alloc_table(self, level: i64, gfn: i64, root: KvmMmuPage | None) -> KvmMmuPage:
        """A zeroed page table, linked nowhere yet."""
        # The shadow MMU clears its entries to the same value: on EPT a zero entry would let #VE happen.
        nonpresent: i64 = SHADOW_NONPRESENT_VALUE
        sp = KvmMmuPage(len(self.page_tables), level, gfn, self.entries, nonpresent)
        sp.root = root
        if root is not None:
            sp.ad_disabled = root.ad_disabled
            sp.guest_mode = root.guest_mode
        self.page_tables.append(sp)
        return sp

    def free_table(self, sp: KvmMmuPage) -> None:
        self.bug_on(sp.freed, "free_table: page table is free already")
        sp.freed = True
        self.oracle.table_freed(self, sp)

    def kvm_memslots_have_rmaps(self) -> bool:
        """Only the shadow MMU has rmaps; under the TDP MMU they come with nested shadow pages, not modelled."""
        return not self.tdp_mmu_enabled

    def kvm_mmu_page_ad_need_write_protect(self, sp: KvmMmuPage) -> bool:
        """PML would log L2 addresses, so L2's tables track dirty pages by W."""
        return self.enable_pml and sp.guest_mode

    def spte_changed(self, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        """KVM has just stored new_spte. Checks what is wrong in itself and tells the oracle."""
        self.observed.count(self.uid, COUNT_CHANGES)
        if is_shadow_present_pte(new_spte) and is_last_spte(new_spte, sp.level):
            self.warn_on(
                not check_spte_writable_invariants(self.masks, new_spte),
                "spte: MMU_WRITABLE without HOST_WRITABLE, or W without MMU_WRITABLE",
            )
        self.oracle.spte_changed(self, sp, index, old_spte, new_spte)

    def mmu_try_to_unsync_pages(self, slot: KvmMemorySlot, gfn: i64, synchronizing: bool, prefetch: bool) -> bool:
        """True: `gfn` must stay write-protected."""
        self.unsync_calls += 1
        return mmu_try_to_unsync_pages(self, gfn, synchronizing, prefetch)

    def kvm_gfn_is_write_tracked(self, gfn: i64) -> bool:
        return bool(self.tracked_gfns) and gfn in self.tracked_gfns

    # --- dirty log ------------------------------------------------------------------------------------------

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

    def vmx_flush_pml_buffer(self, vcpu: Vcpu) -> None:
        """Drain the PML buffer into the bitmaps; entries of slots that do not log are ignored."""
        for gfn in vcpu.pml_buffer:
            slot = search_memslots(self, gfn)
            if slot is not None:
                self.mark_page_dirty_in_slot(slot, gfn)
        vcpu.pml_buffer.clear()
        self.oracle.pml_drained(self, vcpu)

    def count_pml(self) -> None:
        self.observed.count(self.uid, COUNT_PML)

    def count_check(self) -> None:
        self.observed.count(self.uid, COUNT_CHECKS)

    def count_visit(self) -> None:
        self.observed.count(self.uid, COUNT_VISITS)

    # --- guest and vCPUs ------------------------------------------------------------------------------------

    def guest_access(self, vcpu: Vcpu, gfn: i64, pfn: i64, write: bool) -> None:
        """A load or store of the running operation reaches page `pfn`."""
        page = self.host.pages[pfn]
        if write:
            page.data = self.uid + 1
            self.host.reference[page.hva] = self.uid + 1
        else:
            self.record(EV_READ, page.data)
        if not self.root_role_direct:
            gfn = self.gfn_of_hva(page.hva)
            if write and vcpu.store_index >= 0:
                self.host.words[page.hva * self.entries + vcpu.store_index] = vcpu.store_gpte
                self.oracle.gpte_written(self, page.hva, vcpu.store_index)
        self.oracle.guest_accessed(self, vcpu, gfn, pfn, write)

    def gfn_of_hva(self, hva: i64) -> i64:
        """The gfn that a host page backs, -1: none."""
        for slot in self.memslots:
            if slot.hva <= hva < slot.hva + slot.npages:
                return slot.base_gfn + hva - slot.hva
        return -1

    def vm_exit(self, vcpu: Vcpu) -> None:
        """The common exit handler: the vCPU is out of guest mode and its PML buffer is drained."""
        vcpu.kicked = False
        if vcpu.pml_buffer and not vcpu.guest_mode:
            self.vmx_flush_pml_buffer(vcpu)

    def kick_all(self) -> None:
        """Every vCPU in guest mode leaves it. The exit handler of one that was in the middle of an access runs at its
        next turn: until then what PML logged is in flight. One between two operations has nothing else to do."""
        for vcpu in self.vcpus:
            vcpu.exits += 1
            if vcpu.accessing:
                vcpu.kicked = True
            else:
                self.vm_exit(vcpu)

    def flush_all(self) -> None:
        """END of a remote flush: all have left guest mode and drop everything before they enter again."""
        self.kick_all()
        for vcpu in self.vcpus:
            vcpu.flush()
        self.oracle.flushed(self)

    # --- host pages -----------------------------------------------------------------------------------------

    def kvm_put_page(self, pfn: i64) -> None:
        """Drop a reference that GUP took."""
        self.oracle.page_put(self, pfn)
        self.host.pages[pfn].kvm_refs -= 1
        self.put_page(pfn)

    def put_page(self, pfn: i64) -> None:
        """Drop a reference to a host page."""
        self.host.put(pfn)
        if self.host.pages[pfn].freed:
            self.oracle.page_freed(self, pfn)

    # --- what is observed -----------------------------------------------------------------------------------

    def record(self, kind: i64, value: i64) -> None:
        """Append to what the running operation did."""
        self.observed.record(self.uid, kind, value)

    def warn_on(self, condition: bool, text: str) -> bool:
        """WARN_ON_ONCE(condition)"""
        if condition:
            self.record(EV_WARN, 0)
            self.oracle.warned(self, text)
        return condition

    def bug_on(self, condition: bool, text: str) -> None:
        if condition:
            self.oracle.bug(self, text)
