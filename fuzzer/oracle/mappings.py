# SPDX-License-Identifier: GPL-2.0-only
"""Pages and the SPTEs that map them: invalidation, freeing, slot removal, references, marks, SPTE form."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from fuzzer.oracle.walk import (
    can_use,
    entry_range,
    leaf_gfns,
    leaf_of,
    maps_gfn,
    obsolete,
    pages_of,
    pfn_in_leaf,
    roots_of,
    tables_of,
    usable,
)
from reference_mmu.kvm.memslots import KvmMemorySlot, memslots_in_hva_range, search_memslots
from reference_mmu.mm.mm import HOST_W
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.points import FPF_READ
from reference_mmu.x86.spte import (
    is_frozen_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    spte_to_pfn,
)
from reference_mmu.x86.tlb import TLB_PFN_SHIFT, Vcpu


@mypyc_attr(acyclic=True, free_list_len=1)
class Mappings:
    """`invalidating`: hva ranges between the return of invalidate_range_start and the end."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.invalidating: list[tuple[int, int]] = []
        self.zapped: list[KvmMemorySlot] = []  # INVALID ones whose zap is complete

    def invalidate_started(self, m: Machine, hva_start: i64, hva_end: i64) -> None:
        """When invalidate_range_start returns, nothing maps the range any more, in no root at all."""
        self.invalidating.append((int(hva_start), int(hva_end)))
        for gfn_range in memslots_in_hva_range(m, hva_start, hva_end):
            for root in roots_of(m):
                if maps_gfn(m, root, gfn_range.start, gfn_range.end):
                    self.reports.report("mapped-during-invalidation")
            for vcpu in m.vcpus:
                if can_use(m, vcpu, gfn_range.start, gfn_range.end):
                    self.reports.report("mapped-during-invalidation")

    def invalidate_ended(self, hva_start: i64, hva_end: i64) -> None:
        self.invalidating.remove((int(hva_start), int(hva_end)))

    def spte_changed(self, m: Machine, sp: KvmMmuPage, index: i64, old_spte: i64, new_spte: i64) -> None:
        """What lockdep would say; no new leaf for a range that is being invalidated; and none that lets the guest write
        what the host process may not (mmu_lock is held: the host PTE cannot have lost W meanwhile)."""
        self.judge_locks(m, sp)
        if is_shadow_present_pte(new_spte) and is_last_spte(new_spte, sp.level):
            first, stop = leaf_gfns(m, sp, index, new_spte)
            if self.zapped and not is_shadow_present_pte(old_spte) and not sp.top().invalid:
                self.judge_slot(m, first)
            gained = not is_shadow_present_pte(old_spte) or not is_mmu_writable_spte(m.masks, old_spte)
            if gained and is_mmu_writable_spte(m.masks, new_spte):
                self.judge_host_writable(m, first, sp.level)
        if not is_shadow_present_pte(new_spte):
            return
        if not is_last_spte(new_spte, sp.level):
            # kvm_zap_obsolete_pages() flushes so late because nobody uses them.
            if obsolete(m, m.page_tables[spte_to_pfn(new_spte)]) and not obsolete(m, sp.top()):
                self.reports.report("obsolete-child")
            return
        if not self.invalidating:
            return
        first, stop = leaf_gfns(m, sp, index, new_spte)
        for hva_start, hva_end in self.invalidating:
            for gfn_range in memslots_in_hva_range(m, hva_start, hva_end):
                if first < gfn_range.end and gfn_range.start < stop:
                    self.reports.report("mapped-during-invalidation")

    def judge_locks(self, m: Machine, sp: KvmMmuPage) -> None:
        """Every store to a page table needs mmu_lock, for write in the shadow MMU, and in the TDP MMU an RCU section;
        fast_page_fault() has RCU alone."""
        held = m.mmu_lock.held[m.actor]
        if sp.tdp_mmu_page and m.rcu.inside[m.actor] == 0:
            self.reports.report("unlocked-store")
        if self.reports.here != FPF_READ and (held == 0 or (held > 0 and not sp.tdp_mmu_page)):
            self.reports.report("unlocked-store")

    def judge_slot(self, m: Machine, gfn: i64) -> None:
        """A fault that began before its slot became INVALID must not map it after the zap."""
        slot = search_memslots(m, gfn)
        if slot is None or (slot.invalid and slot in self.zapped):
            self.reports.report("slot-still-mapped")

    def table_freed(self, sp: KvmMmuPage) -> None:
        """A freed page table must be empty: no zap can reach what it still maps."""
        for spte in sp.spt:
            if is_shadow_present_pte(spte):
                self.reports.report("table-leak")

    def mmu_unlocking(self, m: Machine) -> None:
        """A vCPU leaves a root only if it is asked to: on one that was zapped it would fault for ever. One
        in guest mode has to be made to leave that as well, since it does not look at requests there."""
        if m.mmu_lock.held[m.actor] > 0:
            return
        for vcpu in m.vcpus:
            if vcpu.root is None or not obsolete(m, vcpu.root):
                continue
            if not vcpu.free_obsolete_roots or (vcpu.accessing and not vcpu.kicked):
                self.reports.report("obsolete-root")

    def guest_entered(self, m: Machine, vcpu: Vcpu) -> None:
        """Whoever made the root obsolete has kicked the vCPU already, and will not do so again."""
        if vcpu.root is not None and obsolete(m, vcpu.root):
            self.reports.report("obsolete-root")

    def judge_host_writable(self, m: Machine, first: i64, level: i64) -> None:
        for gfn in range(first, first + m.pages_per_hpage(level)):
            slot = search_memslots(m, gfn)
            if slot is not None and (m.host.flags[slot.hva + gfn - slot.base_gfn] & HOST_W) == 0:
                self.reports.report("illegal-spte")

    def page_freed(self, m: Machine, pfn: i64) -> None:
        """When a page is freed, nobody maps it. A table that was filled for a split and never linked maps nothing."""
        for sp in tables_of(m):
            pages = m.pages_per_hpage(sp.level)
            for spte in sp.spt:
                leaf = is_shadow_present_pte(spte) and is_last_spte(spte, sp.level)
                if leaf and spte_to_pfn(spte) <= pfn < spte_to_pfn(spte) + pages:
                    self.reports.report("mapped-freed-page")
        for vcpu in m.vcpus:
            if vcpu.tlb.n != 0 and usable(m, vcpu):
                for at in range(vcpu.tlb.n):
                    key, entry = vcpu.tlb.keys[at], vcpu.tlb.values[at]
                    first, end = entry_range(m, key)  # how many pages it covers
                    if entry >> TLB_PFN_SHIFT <= pfn < (entry >> TLB_PFN_SHIFT) + end - first:
                        self.reports.report("mapped-freed-page")

    def page_marked(self, m: Machine, pfn: i64) -> None:
        """KVM marks a page accessed or dirty: it must hold mmu_lock, and a reference to the page."""
        if m.mmu_lock.held[m.actor] == 0 or m.host.pages[pfn].kvm_refs <= 0:
            self.reports.report("late-page-mark")

    def page_put(self, m: Machine, pfn: i64) -> None:
        """KVM drops a page reference: it must hold one."""
        if m.host.pages[pfn].kvm_refs <= 0:
            self.reports.report("refcount-underflow")

    def slot_zapped(self, m: Machine, slot: KvmMemorySlot) -> None:
        """A deleted or moved slot must be gone from every root somebody can load."""
        self.zapped.extend(other for other in m.memslots if other.invalid and other.number == slot.number)
        for root in roots_of(m):
            if obsolete(m, root):
                continue
            if maps_gfn(m, root, slot.base_gfn, slot.end_gfn()):
                self.reports.report("slot-still-mapped")
        for vcpu in m.vcpus:
            if can_use(m, vcpu, slot.base_gfn, slot.end_gfn()):
                self.reports.report("slot-still-mapped")

    def finish(self, m: Machine) -> None:
        """References and counts at rest, and SPTEs no flow may leave behind."""
        if m.mmu_invalidate_in_progress != 0 or m.mn_active_invalidate_count != 0:
            self.reports.report("invalidation-imbalance")
        for sp in m.page_tables:
            if sp.invalid and sp.root_count == 0 and not sp.freed:
                self.reports.report("table-leak")
        for page in m.host.pages:
            if page.kvm_refs > 0:
                self.reports.report("refcount-leak")
        for root in roots_of(m):
            if not root.invalid:
                self.judge_form(m, root)

    def judge_form(self, m: Machine, root: KvmMmuPage) -> None:
        """Every reachable entry: not frozen, its table neither freed nor unlinked, its leaf the slot's page."""
        stack = [root]
        while stack:
            sp = stack.pop()
            if sp.freed or sp.unlinked:
                self.reports.report("illegal-spte")
                continue
            for spte in sp.spt:
                if is_frozen_spte(spte):
                    self.reports.report("illegal-spte")
                elif is_shadow_present_pte(spte) and not is_last_spte(spte, sp.level):
                    stack.append(m.page_tables[spte_to_pfn(spte)])
        if not m.root_role_direct:
            self.judge_pfns(m, root)
            return
        for slot in m.memslots:
            for gfn in range(slot.base_gfn, slot.end_gfn()):
                spte, level = leaf_of(m, root, gfn)
                hva = slot.hva + gfn - slot.base_gfn
                if level != 0 and not slot.invalid and pfn_in_leaf(m, spte, level, gfn) != m.host.pte[hva]:
                    self.reports.report("illegal-spte")

    def judge_pfns(self, m: Machine, root: KvmMmuPage) -> None:
        """The same for virtual pages: the leaf maps a page that the host still has there."""
        for addr in pages_of(m):
            spte, level = leaf_of(m, root, addr)
            if level != 0 and m.host.pte[m.host.pages[spte_to_pfn(spte)].hva] != spte_to_pfn(spte):
                self.reports.report("illegal-spte")
