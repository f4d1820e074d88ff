# SPDX-License-Identifier: GPL-2.0-only
"""Pages and the SPTEs that map them: invalidation, freeing, slot removal, SPTE form."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.memslots import KvmGfnRange, KvmMemorySlot, memslots_in_hva_range, search_memslots
from reference_mmu.kvm.observer import PTE_FROZEN, PTE_LEAF, PTE_TABLE, Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vcpu import TLB_PFN_SHIFT, KvmVcpu


@mypyc_attr(acyclic=True, free_list_len=1)
class Mappings:
    """`invalidating`: hva ranges between the return of invalidate_range_start and the end."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.invalidating: list[tuple[int, int]] = []
        self.zapped: list[KvmMemorySlot] = []  # INVALID ones whose zap is complete
        self.zapping: i64 = 0  # ranges that are being zapped
        self.mapped_since: list[tuple[int, int]] = []  # gfns that were mapped meanwhile

    def invalidate_started(self, m: Observable, hva_start: i64, hva_end: i64) -> None:
        """When invalidate_range_start returns, nothing maps the range any more, in no root at all."""
        self.invalidating.append((int(hva_start), int(hva_end)))
        for gfn_range in memslots_in_hva_range(m.memslots, hva_start, hva_end):
            for root in m.roots():
                if m.maps_gfn(root, gfn_range.start, gfn_range.end):
                    self.reports.report("mapped-during-invalidation")
            for vcpu in m.vcpus:
                if m.can_use(vcpu, gfn_range.start, gfn_range.end):
                    self.reports.report("mapped-during-invalidation")

    def invalidate_ended(self, hva_start: i64, hva_end: i64) -> None:
        self.invalidating.remove((int(hva_start), int(hva_end)))

    def spte_changed(
        self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64, was: i64, now: i64
    ) -> None:
        """The locks. No new leaf for a range that is being invalidated; no obsolete table below one that is not."""
        if not m.locks_allow_store(sp, self.reports.here):
            self.judge_lockless(m, sp, old_spte, new_spte, was, now)
        if now == PTE_LEAF:
            self.judge_leaf(m, sp, index, new_spte, was)
        # kvm_zap_obsolete_pages() flushes so late because nobody uses them.
        elif now == PTE_TABLE and m.obsolete(m.table(m.pte_pfn(new_spte))) and not m.obsolete(m.top(sp)):
            self.reports.report("obsolete-child")

    def judge_leaf(self, m: Observable, sp: PageTable, index: i64, new_spte: i64, was: i64) -> None:
        first, stop = m.leaf_gfns(sp, index, new_spte)
        fresh = was != PTE_TABLE and was != PTE_LEAF
        if self.zapping != 0 and fresh:
            self.mapped_since.append((int(first), int(stop)))
        if self.zapped and fresh and not m.invalid(m.top(sp)):
            self.judge_slot(m, first)
        for hva_start, hva_end in self.invalidating:
            for gfn_range in memslots_in_hva_range(m.memslots, hva_start, hva_end):
                if first < gfn_range.end and gfn_range.start < stop and not is_cut_later(m, gfn_range, first, stop):
                    self.reports.report("mapped-during-invalidation")

    def judge_lockless(self, m: Observable, sp: PageTable, old_spte: i64, new_spte: i64, was: i64, now: i64) -> None:
        """Without the locks that the architecture wants for a store, bits of a leaf may change and no more: it maps the
        same page, and neither what proves that nobody can write it nor what is mapped comes or goes."""
        same = was == PTE_LEAF and now == PTE_LEAF and m.pte_pfn(old_spte) == m.pte_pfn(new_spte)
        harmless = same and m.pte_may_write(old_spte) == m.pte_may_write(new_spte)
        # An atomic AND may come to what has gone meanwhile, as long as it leaves that as it is.
        if not (harmless or new_spte == old_spte) or not m.may_change_bits(sp):
            self.reports.report("unlocked-store")

    def judge_slot(self, m: Observable, gfn: i64) -> None:
        """A fault that began before its slot became INVALID must not map it after the zap."""
        slot = search_memslots(m.memslots, gfn)
        if slot is None or (slot.invalid and slot in self.zapped):
            self.reports.report("slot-still-mapped")

    def table_freed(self, m: Observable, sp: PageTable) -> None:
        """A freed page table must be empty: no zap can reach what it still maps."""
        for spte in sp.spt:
            if m.pte_kind(spte, sp.level) >= PTE_TABLE:
                self.reports.report("table-leak")

    def mmu_unlocking(self, m: Observable) -> None:
        """A vCPU leaves a root only if it is asked to: on one that was zapped it would fault for ever. One
        in guest mode has to be made to leave that as well, since it does not look at requests there."""
        if m.mmu_lock.held[m.actor] > 0 or not m.any_obsolete_root():
            return
        for vcpu in m.vcpus:
            if not m.on_obsolete_root(vcpu):
                continue
            if not m.asked_to_leave(vcpu) or (vcpu.accessing and not vcpu.kicked):
                self.reports.report("obsolete-root")

    def guest_entered(self, m: Observable, vcpu: KvmVcpu) -> None:
        """Whoever made the root obsolete has kicked the vCPU already, and will not do so again."""
        if m.on_obsolete_root(vcpu):
            self.reports.report("obsolete-root")

    def page_freed(self, m: Observable, pfn: i64) -> None:
        """When a page is freed, nobody maps it. A table that was filled for a split and never linked maps nothing."""
        for sp in m.linked_tables():
            pages = m.pages_per_hpage(sp.level)
            for spte in sp.spt:
                leaf = m.pte_kind(spte, sp.level) == PTE_LEAF
                if leaf and m.pte_pfn(spte) <= pfn < m.pte_pfn(spte) + pages:
                    self.reports.report("mapped-freed-page")
        for vcpu in m.vcpus:
            if vcpu.tlb.n != 0 and m.usable(vcpu):
                for at in range(vcpu.tlb.n):
                    key, entry = vcpu.tlb.keys[at], vcpu.tlb.values[at]
                    first, end = m.entry_range(key)  # how many pages it covers
                    if entry >> TLB_PFN_SHIFT <= pfn < (entry >> TLB_PFN_SHIFT) + end - first:
                        self.reports.report("mapped-freed-page")

    def slot_zapped(self, m: Observable, slot: KvmMemorySlot) -> None:
        """A deleted or moved slot must be gone from every root somebody can load."""
        self.zapped.extend(other for other in m.memslots if other.invalid and other.number == slot.number)
        for root in m.roots():
            if m.obsolete(root):
                continue
            if m.maps_gfn(root, slot.base_gfn, slot.end_gfn()):
                self.reports.report("slot-still-mapped")
        for vcpu in m.vcpus:
            if m.can_use(vcpu, slot.base_gfn, slot.end_gfn()):
                self.reports.report("slot-still-mapped")

    def range_zap_begun(self) -> None:
        self.zapping += 1

    def range_zapped(self, m: Observable, first: i64, end: i64) -> None:
        """Nothing of the range is older than the zap. A fault beside the range may have mapped a huge page that reaches
        into it, while mmu_lock was dropped."""
        for gfn in range(first, end):
            if any(start <= gfn < stop for start, stop in self.mapped_since):
                continue
            for root in m.roots():
                if not m.obsolete(root) and m.maps_gfn(root, gfn, gfn + 1):
                    self.reports.report("older-than-zap")
            for vcpu in m.vcpus:
                if m.can_use(vcpu, gfn, gfn + 1):
                    self.reports.report("older-than-zap")
        self.zapping -= 1
        if self.zapping <= 0:
            self.zapping = 0
            self.mapped_since = []

    def finish(self, m: Observable) -> None:
        """Counts at rest, and SPTEs no flow may leave behind."""
        if m.mmu_invalidate_in_progress != 0 or m.mn_active_invalidate_count != 0:
            self.reports.report("invalidation-imbalance")
        for sp in m.tables():
            if m.leaked(sp):
                self.reports.report("table-leak")
        for root in m.roots():
            if not m.invalid(root):
                self.judge_form(m, root)

    def judge_form(self, m: Observable, root: PageTable) -> None:
        """Every reachable entry: not frozen, its table neither freed nor unlinked, its leaf the slot's page."""
        stack = [root]
        while stack:
            sp = stack.pop()
            if sp.freed or sp.unlinked:
                self.reports.report("illegal-spte")
                continue
            for spte in sp.spt:
                kind = m.pte_kind(spte, sp.level)
                if kind == PTE_FROZEN:
                    self.reports.report("illegal-spte")
                elif kind == PTE_TABLE:
                    stack.append(m.table(m.pte_pfn(spte)))
        if not m.pages_are_gfns():
            self.judge_pfns(m, root)
            return
        for slot in m.memslots:
            for gfn in range(slot.base_gfn, slot.end_gfn()):
                spte, level = m.leaf_of(root, gfn)
                hva = m.hva_in_slot(slot, gfn)
                if level != 0 and not slot.invalid and m.pfn_in_leaf(spte, level, gfn) != m.host.pte[hva]:
                    self.reports.report("illegal-spte")

    def judge_pfns(self, m: Observable, root: PageTable) -> None:
        """The same for virtual pages: the leaf maps a page that the host still has there."""
        for addr in m.pages():
            spte, level = m.leaf_of(root, addr)
            if level != 0 and m.host.pte[m.host.pages[m.pte_pfn(spte)].hva] != m.pte_pfn(spte):
                self.reports.report("illegal-spte")


def is_cut_later(m: Observable, invalidated: KvmGfnRange, first: i64, stop: i64) -> bool:
    """Does the host map the gfns [first, stop) by one PTE of which only a part is invalidated? It cannot change that
    part before it has split the PTE, and invalidated all of it for that: a fault beside the part maps a huge page."""
    if invalidated.start <= first and stop <= invalidated.end:
        return False
    gfn = max(first, invalidated.start)
    return m.host.mapping_level(invalidated.slot.hva + gfn - invalidated.slot.base_gfn) > 1
