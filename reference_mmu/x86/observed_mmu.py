# SPDX-License-Identifier: GPL-2.0-only
"""What an observer reads of an x86 machine: SPTEs, roots of both MMUs, PML, virtual pages of an indirect MMU."""

from __future__ import annotations

from typing import cast

from mypy_extensions import i64

from ..kvm.observer import (
    LEAF_ACCESSED,
    LEAF_DIRTY,
    LEAF_ELSE,
    MARKS_AT_MAP,
    MARKS_AT_ZAP,
    PTE_FROZEN,
    PTE_LEAF,
    PTE_NONE,
    PTE_TABLE,
    Observable,
)
from ..kvm.page_table import PageTable
from ..kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_W, KvmVcpu
from .machine import Machine
from .obsolete import is_obsolete_sp
from .page_table import KvmMmuPage
from .picture import leaf_words, pending_words, state_words
from .spte import (
    PT_WRITABLE_MASK,
    is_access_track_spte,
    is_accessed_spte,
    is_dirty_spte,
    is_frozen_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    is_writable_pte,
    restore_acc_track_spte,
    spte_to_pfn,
)
from .vcpu_arch import Vcpu


class ObservedMmu(Machine):
    """Reads; changes nothing, except that stop() ends the guest."""

    # --- what an SPTE says --------------------------------------------------------------------------------------

    def pte_kind(self, pte: i64, level: i64) -> i64:
        if is_shadow_present_pte(pte):
            return PTE_LEAF if is_last_spte(pte, level) else PTE_TABLE
        return PTE_FROZEN if is_frozen_spte(pte) else PTE_NONE

    def pte_pfn(self, pte: i64) -> i64:
        return spte_to_pfn(pte)

    def pte_writable(self, pte: i64) -> bool:
        return is_writable_pte(pte)

    def pte_may_write(self, pte: i64) -> bool:
        return is_mmu_writable_spte(self.masks, pte)

    def dirty_marks(self) -> i64:
        return MARKS_AT_MAP if self.sem.x86_dirty_at_spte_creation else MARKS_AT_ZAP

    def leaf_dirty(self, pte: i64) -> bool:
        return is_dirty_spte(self.masks, pte)

    def leaf_young(self, pte: i64) -> bool:
        return is_accessed_spte(self.masks, pte)

    def logs_by_d(self, root: KvmMmuPage) -> bool:
        """Does PML log what is written through this root? Else KVM must see every write: W tells."""
        return self.enable_pml and not root.ad_disabled and not root.guest_mode

    def leaf_silent(self, root: PageTable, pte: i64) -> bool:
        if not is_writable_pte(pte):
            return False
        return not self.logs_by_d(cast(KvmMmuPage, root)) or (pte & self.masks.hw_dirty) != 0

    def silent_rights(self, vcpu: KvmVcpu) -> i64:
        root = cast(Vcpu, vcpu).root
        assert root is not None
        return TLB_W | TLB_D if self.logs_by_d(root) else TLB_W

    def leaf_difference(self, pte: i64, other: Observable, other_pte: i64) -> i64:
        """W counts by MMU_WRITABLE, since fast_page_fault() gives W back for the asking; R and X of an access-tracked
        SPTE count as saved. A model's mask may be 0 (bits unused): the union is what the format has."""
        masks, others = self.masks, cast(Machine, other).masks
        accessed = masks.shadow_accessed_mask | others.shadow_accessed_mask
        dirty = masks.shadow_dirty_mask | others.shadow_dirty_mask
        tracked, other_tracked = is_access_track_spte(masks, pte), is_access_track_spte(others, other_pte)
        found: i64 = 0
        if (pte ^ other_pte) & accessed or tracked != other_tracked:
            found |= LEAF_ACCESSED
        if (pte ^ other_pte) & dirty:
            found |= LEAF_DIRTY
        pte = restore_acc_track_spte(masks, pte) if tracked else pte
        other_pte = restore_acc_track_spte(others, other_pte) if other_tracked else other_pte
        rest = (pte ^ other_pte) & ~(accessed | dirty)
        if is_mmu_writable_spte(masks, pte):
            rest &= ~PT_WRITABLE_MASK
        return found | LEAF_ELSE if rest else found

    def leaf_words(self, pte: i64) -> str:
        return leaf_words(self, pte)

    def state_words(self) -> list[tuple[str, str]]:
        return state_words(self)

    def pending_words(self) -> list[tuple[str, str]]:
        return pending_words(self)

    # --- tables, roots, vCPUs ---------------------------------------------------------------------------------------

    def tables(self) -> list[PageTable]:
        return cast(list[PageTable], self.page_tables)

    def table(self, number: i64) -> PageTable:
        return self.page_tables[number]

    def roots(self) -> list[PageTable]:
        if self.tdp_mmu_enabled:
            return cast(list[PageTable], self.tdp_mmu_roots)
        return [sp for sp in self.active_mmu_pages if sp.level == self.levels]

    def top(self, sp: PageTable) -> PageTable:
        return cast(KvmMmuPage, sp).top()

    def root_of(self, vcpu: KvmVcpu) -> PageTable | None:
        return cast(Vcpu, vcpu).root

    def same_users(self, root: PageTable, other: PageTable) -> bool:
        """A shadow page belongs to no root."""
        return root is other or not cast(KvmMmuPage, other).tdp_mmu_page

    def invalid(self, sp: PageTable) -> bool:
        return cast(KvmMmuPage, sp).invalid

    def leaked(self, sp: PageTable) -> bool:
        page = cast(KvmMmuPage, sp)
        if page.freed:
            return False
        if page.tdp_mmu_page and page.root is not None:
            return not page.unlinked and not self.is_linked(page, page.root)
        return page.invalid and page.root_count == 0

    def is_linked(self, page: KvmMmuPage, root: KvmMmuPage) -> bool:
        """Do the entries of a TDP MMU root lead to a table? Else no zap of the root comes by it."""
        sp = root
        while sp.level > page.level:
            spte = sp.spt[self.spte_index(page.gfn, sp.level)]
            if self.pte_kind(spte, sp.level) != PTE_TABLE:
                return False
            sp = self.page_tables[spte_to_pfn(spte)]
        return sp is page

    def obsolete(self, root: PageTable) -> bool:
        if root is self.dummy_root:
            return False  # no shadow page; it goes with the next request
        return is_obsolete_sp(self, cast(KvmMmuPage, root))

    def any_obsolete_root(self) -> bool:
        """As in every machine, without a call for each vCPU: every unlocking asks this."""
        for vcpu in self.x86_vcpus:
            root = vcpu.root
            if root is None or root is self.dummy_root:
                continue
            if root.invalid or (not root.tdp_mmu_page and root.mmu_valid_gen != self.mmu_valid_gen):
                return True
        return False

    def asked_to_leave(self, vcpu: KvmVcpu) -> bool:
        return cast(Vcpu, vcpu).free_obsolete_roots

    def locks_allow_store(self, sp: PageTable, here: i64) -> bool:
        """mmu_lock, for write in the shadow MMU, and in the TDP MMU an RCU section as well."""
        held = self.mmu_lock.held[self.actor]
        if cast(KvmMmuPage, sp).tdp_mmu_page:
            return held != 0 and self.rcu.inside[self.actor] != 0
        return held < 0

    def may_change_bits(self, sp: PageTable) -> bool:
        """fast_page_fault() and its like: the RCU section keeps the table, a compare-and-swap the value."""
        return self.rcu.inside[self.actor] != 0

    def flushes_later(self) -> bool:
        """A harvest takes MMU_WRITABLE from huge pages and flushes only after mmu_lock is released."""
        return self.harvest_protects_huge

    def unlinked_is_owed(self, sp: PageTable) -> bool:
        page = cast(KvmMmuPage, sp)
        return page.tdp_mmu_page and not page.top().invalid

    def walked_when_freed(self, sp: PageTable) -> bool:
        """Nobody walks what hung under an invalid root: its users hold references."""
        page = cast(KvmMmuPage, sp)
        return not page.tdp_mmu_page or not page.top().invalid

    def hardware_bits(self) -> i64:
        return self.masks.hw_accessed | self.masks.hw_dirty

    def logged_in_flight(self) -> list[int]:
        return [gfn for vcpu in self.x86_vcpus for gfn in vcpu.pml_buffer] + self.marking

    def logged_by(self, vcpu: KvmVcpu) -> list[int]:
        return cast(Vcpu, vcpu).pml_buffer

    def stop(self) -> None:
        for vcpu in self.x86_vcpus:
            self.vm_exit(vcpu)

    # --- walks --------------------------------------------------------------------------------------------------------

    def leaf_of(self, root: PageTable, page: i64) -> tuple[i64, i64]:
        """As in every machine, without a call for each question."""
        sp = root
        while True:
            spte = sp.spt[self.spte_index(page, sp.level)]
            if not is_shadow_present_pte(spte):
                return 0, 0
            if is_last_spte(spte, sp.level):
                return spte, sp.level
            sp = self.page_tables[spte_to_pfn(spte)]

    # --- pages: gfns of a direct MMU, virtual pages of an indirect one ------------------------------------------------

    def pages_are_gfns(self) -> bool:
        return self.root_role_direct

    def pages(self) -> list[int]:
        if self.root_role_direct:
            return super().pages()
        return list(range(self.pages_per_hpage(self.levels + 1)))

    def gfn_of_leaf(self, spte: i64) -> i64:
        """The gfn that a leaf of an indirect MMU maps. It is known by the page: two slots never share one."""
        return self.gfn_of_hva(self.host.pages[spte_to_pfn(spte)].hva)

    def entry_gfns(self, key: i64, entry: i64) -> tuple[i64, i64]:
        if self.root_role_direct:
            return self.entry_range(key)
        gfn = self.gfn_of_hva(self.host.pages[entry >> TLB_PFN_SHIFT].hva)
        return gfn, gfn + 1

    def leaf_gfns(self, sp: PageTable, index: i64, pte: i64) -> tuple[i64, i64]:
        if cast(KvmMmuPage, sp).direct:
            return super().leaf_gfns(sp, index, pte)
        gfn = self.gfn_of_leaf(pte)
        return gfn, gfn + 1

    def reach(self, sp: PageTable, index: i64) -> tuple[i64, i64]:
        """An indirect page can be linked anywhere."""
        if cast(KvmMmuPage, sp).direct:
            return super().leaf_gfns(sp, index, 0)
        return 0, self.pages_per_hpage(self.levels + 1)

    def accessed_bits_go(self, sp: PageTable, leaf: bool) -> bool:
        """What is below an entry of an indirect page keeps its bits."""
        return leaf or cast(KvmMmuPage, sp).direct

    def pages_mapping(self, root: PageTable, gfns: list[int]) -> list[int]:
        if self.root_role_direct:
            return gfns
        pages = []
        for addr in self.pages():
            spte, level = self.leaf_of(root, addr)
            if level != 0 and self.gfn_of_leaf(spte) in gfns:
                pages.append(addr)
        return pages

    def maps_gfn(self, root: PageTable, first: i64, end: i64) -> bool:
        if self.root_role_direct:
            return super().maps_gfn(root, first, end)
        for addr in self.pages():
            spte, level = self.leaf_of(root, addr)
            if level != 0 and first <= self.gfn_of_leaf(spte) < end:
                return True
        return False
