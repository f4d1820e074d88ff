# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_arch on top of struct kvm: page tables, rmaps, write tracking, vCPUs (arch/x86/include/asm/kvm_host.h).

What common code asks of x86 is in x86.py, a class on top of this one: it needs the flows, and they need this.
"""

from __future__ import annotations

from typing import cast

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import UNSET, Config
from ..kvm.memslots import search_memslots
from ..kvm.vcpu import KvmVcpu
from ..kvm.vm import Vm
from ..observed import COUNT_PML
from ..oracle import Oracle
from .page_table import KvmMmuPage, KvmRmapHead
from .points import POINTS
from .shadow_mmu.gpte import make_gpte
from .spte import (
    SHADOW_NONPRESENT_VALUE,
    SpteMasks,
    check_spte_writable_invariants,
    is_last_spte,
    is_shadow_present_pte,
)
from .vcpu_arch import Vcpu


class Machine(Vm):
    """A virtual machine of x86, its whole state."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)
        self.masks = SpteMasks(config.paging, sem)
        # The root level holds no leaves, and hardware has none above 1G.
        self.max_huge_level: i64 = min(3, config.levels - 1)
        self.pml_entries: i64 = config.pml_entries
        self.tdp_mmu_enabled = config.mmu == "tdp"
        self.root_role_direct = True  # root_role.direct of every vCPU
        self.enable_pml = config.paging == "ept-ad"
        self.eager_page_split = config.eager_split
        self.prove_mmu = config.prove_mmu

        self.tracked_gfns: dict[int, int] = {}  # gfn_write_track counts
        self.gfns_tracked_for_device: dict[int, int] = {}  # those not due to shadow pages
        self.marking: list[int] = []  # gfns between a store and its bit in the log, be it an SPTE or memory

        self.page_tables: list[KvmMmuPage] = []
        self.tdp_mmu_roots: list[KvmMmuPage] = []
        self.active_mmu_pages: list[KvmMmuPage] = []  # shadow MMU, oldest first
        self.rmap: dict[int, KvmRmapHead] = {}  # slot->arch.rmap, by tlb_key(): no empty one
        self.mmu_valid_gen: i64 = 0
        self.indirect_shadow_pages: i64 = 0
        self.dummy_root: KvmMmuPage | None = None  # kvm_mmu_get_dummy_root(), of an indirect MMU
        self.unsync_calls: i64 = 0  # of mmu_try_to_unsync_pages()
        self.apic_page = None if config.apic_page is UNSET else config.apic_page
        self.apic_access_memslot_enabled = False
        self.harvest_protects_huge = False  # inside the huge-page write protection of a harvest

        self.x86_vcpus = [Vcpu(number) for number in range(config.vcpus)]
        self.vcpus.extend(self.x86_vcpus)
        self.create_memslots(config)
        for vcpu in self.x86_vcpus:
            vcpu.pml_enabled = self.enable_pml and self.nr_memslots_dirty_logging > 0
        self.create_guest_tables(config)
        oracle.attach(self)

    def create_guest_tables(self, config: Config) -> None:
        """What the guest has set up before the program begins."""
        paging = config.guest_paging
        if paging is UNSET:
            return
        self.root_role_direct = False
        self.host.keep_words()
        for pte in paging.ptes:
            slot = search_memslots(self.memslots, pte.table)
            assert slot is not None
            hva = slot.hva + pte.table - slot.base_gfn
            gpte = make_gpte(pte.gfn, pte.writable, pte.executable, pte.accessed, pte.dirty)
            self.host.words[hva * self.entries + pte.index] = gpte
        self.dummy_root = KvmMmuPage(-1, self.levels, 0, self.entries, SHADOW_NONPRESENT_VALUE)
        for vcpu in self.x86_vcpus:
            vcpu.cr3 = paging.cr3
            vcpu.guest_mode = self.masks.ept

    # --- page tables ------------------------------------------------------------------------------------------

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

    def kvm_memslots_have_rmaps(self) -> bool:
        """Only the shadow MMU has rmaps; under the TDP MMU they come with nested shadow pages, not modelled."""
        return not self.tdp_mmu_enabled

    def spte_changed(self, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        """KVM has just stored new_spte. Checks what is wrong in itself and tells the oracle."""
        self.count_change()
        if is_shadow_present_pte(new_spte) and is_last_spte(new_spte, sp.level):
            self.warn_on(
                not check_spte_writable_invariants(self.masks, new_spte),
                "spte: MMU_WRITABLE without HOST_WRITABLE, or W without MMU_WRITABLE",
            )
        self.oracle.spte_changed(self, sp, index, old_spte, new_spte)

    def kvm_gfn_is_write_tracked(self, gfn: i64) -> bool:
        return bool(self.tracked_gfns) and gfn in self.tracked_gfns

    # --- guest and vCPUs --------------------------------------------------------------------------------------

    def guest_access(self, vcpu: KvmVcpu, gfn: i64, pfn: i64, write: bool) -> None:
        """Where the MMU is indirect the guest names a virtual page, and may store an entry of its page tables."""
        self.touch_page(pfn, write)
        if not self.root_role_direct:
            hva = self.host.pages[pfn].hva
            gfn = self.gfn_of_hva(hva)
            if write:
                self.store_gpte(cast(Vcpu, vcpu), hva)
        self.oracle.guest_accessed(self, vcpu, gfn, pfn, write)

    def store_gpte(self, vcpu: Vcpu, hva: i64) -> None:
        """The store that reaches the page at hva is one to an entry of a table, or it is none."""
        if vcpu.store_index >= 0:
            self.host.words[hva * self.entries + vcpu.store_index] = vcpu.store_gpte
            self.oracle.gpte_written(self, hva, vcpu.store_index)

    def vmx_flush_pml_buffer(self, vcpu: Vcpu) -> None:
        """Drain the PML buffer into the bitmaps; entries of slots that do not log are ignored."""
        for gfn in vcpu.pml_buffer:
            slot = search_memslots(self.memslots, gfn)
            if slot is not None:
                self.mark_page_dirty_in_slot(slot, gfn)
        vcpu.pml_buffer.clear()
        self.oracle.pml_drained(self, vcpu)

    def vm_exit(self, vcpu: Vcpu) -> None:
        """The common exit handler: the vCPU is out of guest mode and its PML buffer is drained."""
        vcpu.kicked = False
        vcpu.outside_guest_mode = True
        if vcpu.pml_buffer and not vcpu.guest_mode:
            self.vmx_flush_pml_buffer(vcpu)

    def kick_all(self) -> None:
        """Every vCPU in guest mode leaves it. The exit handler of one that was in the middle of an access runs at its
        next turn: until then what PML logged is in flight. One between two operations has nothing else to do."""
        for vcpu in self.x86_vcpus:
            self.kick(vcpu)

    def kick(self, vcpu: Vcpu) -> None:
        """The same of one vCPU."""
        vcpu.exits += 1
        if vcpu.accessing:
            vcpu.kicked = True
        else:
            self.vm_exit(vcpu)

    def request_tlb_flush(self) -> None:
        """kvm_make_all_cpus_request(KVM_REQ_TLB_FLUSH), up to the waiting."""
        for vcpu in self.x86_vcpus:
            vcpu.tlb_flush = True

    def await_tlb_flush(self) -> None:
        """Who has not left the guest since does so now. Each flushes for itself before it enters: that may as well be
        now, since nobody uses what is cached until then."""
        for vcpu in self.x86_vcpus:
            if vcpu.tlb_flush:
                vcpu.tlb_flush = False
                self.kick(vcpu)
                vcpu.flush()
        self.oracle.flushed(self)

    def count_pml(self) -> None:
        self.observed.count(self.uid, COUNT_PML)
