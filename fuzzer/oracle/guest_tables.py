# SPDX-License-Identifier: GPL-2.0-only
"""Guest page tables and the shadow pages made from them.

A translation may be older than the guest's entry: hardware, too, may keep it until the guest flushes.  What must hold
is what the guest's flush relies on: a table whose shadow page is in sync cannot be written behind KVM's back, its SPTEs
are those of the guest's entries, and after INVLPG or a load of CR3 nothing is older than that.
"""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.vcpu import TLB_W, KvmVcpu
from reference_mmu.x86.observed_mmu import ObservedMmu
from reference_mmu.x86.obsolete import is_obsolete_sp
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.shadow_mmu.gpte import gpte_access, gpte_to_gfn, is_present_gpte
from reference_mmu.x86.shadow_mmu.read_gpte import guest_has_ad, protect_clean_gpte
from reference_mmu.x86.spte import (
    ACC_EXEC_MASK,
    ACC_USER_MASK,
    ACC_WRITE_MASK,
    PG_LEVEL_4K,
    PT_ACCESSED_MASK,
    is_access_track_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    restore_acc_track_spte,
    spte_to_pfn,
)


@mypyc_attr(acyclic=True, free_list_len=1)
class GuestTables:
    """Of each word of guest memory: `stored`, the turn in which the last store to it was complete; `emulating`, how
    many emulated stores to it are not; `foreign`, 1 if the host process changed it: KVM is not told of that."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.stored: vec[i64] = vec[i64]([])
        self.emulating: vec[i64] = vec[i64]([])
        self.foreign: vec[i64] = vec[i64]([])
        self.flush_begun: vec[i64] = vec[i64]([])  # by vCPU: the turn
        self.taken: i64 = 0  # the turn in which whoever maps something took mmu_lock

    def attach(self, m: ObservedMmu) -> None:
        words = len(m.host.words)
        self.stored = vec[i64]([0] * words)
        self.emulating = vec[i64]([0] * words)
        self.foreign = vec[i64]([0] * words)
        self.flush_begun = vec[i64]([0] * len(m.vcpus))

    def written(self, m: ObservedMmu, hva: i64, index: i64) -> None:
        self.stored[hva * m.entries + index] = self.reports.turns

    def write_begun(self, m: ObservedMmu, gfn: i64, index: i64) -> None:
        first = first_word(m, gfn)
        if first >= 0:
            self.emulating[first + index] += 1

    def write_emulated(self, m: ObservedMmu, gfn: i64, index: i64) -> None:
        """The slot may have gone meanwhile, and its shadow pages with it."""
        first = first_word(m, gfn)
        if index < 0 or first < 0:
            return
        word = first + index
        self.stored[word] = self.reports.turns
        if self.emulating[word] > 0:
            self.emulating[word] -= 1

    def discarded(self, m: ObservedMmu, hva: i64) -> None:
        if not m.root_role_direct:
            for word in range(hva * m.entries, (hva + 1) * m.entries):
                self.foreign[word] = 1

    def walk_taken(self) -> None:
        self.taken = self.reports.turns

    def linked(self, m: ObservedMmu, sp: KvmMmuPage, index: i64) -> None:
        """A shadow page has come below an entry. No flush of the guest is needed before it counts, since nothing was
        there: so it, and what is below it, has to be what the guest's tables were when the fault got mmu_lock
        (kvm_mmu_find_shadow_page(), FNAME(fetch)())."""
        stack = [m.page_tables[spte_to_pfn(sp.spt[index])]]
        while stack:
            child = stack.pop()
            first = first_word(m, child.gfn)
            for at in range(m.entries if first >= 0 and not child.direct else 0):
                if not is_shadow_present_pte(child.spt[at]) or self.foreign[first + at] != 0:
                    continue
                if not is_last_spte(child.spt[at], child.level):
                    stack.append(m.page_tables[spte_to_pfn(child.spt[at])])
                if agrees(m, child, at, m.host.words[first + at]) or self.emulating[first + at] != 0:
                    continue
                if self.stored[first + at] < self.taken:
                    self.reports.report("stale-link")

    def flush_begins(self, vcpu: KvmVcpu) -> None:
        self.flush_begun[vcpu.number] = self.reports.turns

    def flush_ends(self, m: ObservedMmu, vcpu: KvmVcpu, first: i64, end: i64) -> None:
        """What the vCPU can use from now on is no older than when its flush began."""
        for at in range(vcpu.tlb.n):
            start, stop = m.entry_range(vcpu.tlb.keys[at])
            if start < end and first < stop:
                self.reports.report("stale-after-guest-flush")
        for addr in range(first, end):
            self.judge_walk(m, vcpu, addr)

    def judge_walk(self, m: ObservedMmu, vcpu: KvmVcpu, addr: i64) -> None:
        """Down the tables that translate `addr`, as long as they agree with the guest's."""
        sp = m.x86_vcpus[vcpu.number].root
        while sp is not None and not sp.direct:
            index = m.spte_index(addr, sp.level)
            first = first_word(m, sp.gfn)
            word = first + index
            if not is_shadow_present_pte(sp.spt[index]) or first < 0 or self.foreign[word] != 0:
                return
            if not agrees(m, sp, index, m.host.words[word]):
                if self.emulating[word] == 0 and self.stored[word] < self.flush_begun[vcpu.number]:
                    self.reports.report("stale-after-guest-flush")
                return
            if is_last_spte(sp.spt[index], sp.level):
                return
            sp = m.page_tables[spte_to_pfn(sp.spt[index])]

    def mmu_unlocking(self, m: ObservedMmu) -> None:
        """Whoever holds mmu_lock next takes a shadow page that is not unsync for the guest's table."""
        for sp in m.active_mmu_pages:
            if sp.direct or is_obsolete_sp(m, sp):
                continue
            self.judge_marks(m, sp)
            if sp.unsync:
                continue
            self.judge_protection(m, sp)
            first = first_word(m, sp.gfn)
            if first < 0:
                continue
            for index in range(m.entries):
                word = first + index
                if not is_shadow_present_pte(sp.spt[index]) or self.foreign[word] != 0:
                    continue
                if self.emulating[word] == 0 and not agrees(m, sp, index, m.host.words[word]):
                    self.reports.report("shadow-page-differs")

    def judge_marks(self, m: ObservedMmu, sp: KvmMmuPage) -> None:
        """Whoever synchronizes finds an unsync page by the marks above it (kvm_mmu_mark_parents_unsync())."""
        count: i64 = 0
        for marked in sp.unsync_child_bitmap:
            count += marked
        if count != sp.unsync_children:
            self.reports.report("unsync-differs")
        if sp.unsync or count != 0:
            for parent, index in sp.parent_ptes.sptes():
                if parent.unsync_child_bitmap[index] == 0:
                    self.reports.report("unsync-differs")

    def judge_protection(self, m: ObservedMmu, sp: KvmMmuPage) -> None:
        """Neither a TLB nor an SPTE lets the guest write the table: mmu_try_to_unsync_pages() was not asked."""
        for vcpu in m.vcpus:
            if m.can_use(vcpu, sp.gfn, sp.gfn + 1, TLB_W):
                self.reports.report("writable-guest-table")
        rmap_head = m.rmap.get(m.tlb_key(sp.gfn, PG_LEVEL_4K))
        for page, index in rmap_head.sptes() if rmap_head is not None else []:
            if is_mmu_writable_spte(m.masks, page.spt[index]) and not is_obsolete_sp(m, page):
                self.reports.report("writable-guest-table")


def first_word(m: ObservedMmu, gfn: i64) -> i64:
    """The first word of guest memory in a page table of the guest, -1: its memslot is gone."""
    hva = m.hva_of_gfn(gfn)
    if hva < 0:
        return -1
    return hva * m.entries


def agrees(m: ObservedMmu, sp: KvmMmuPage, index: i64, gpte: i64) -> bool:
    """Does a present SPTE allow no more than the guest's entry, and lead to the same place?"""
    if not is_present_gpte(gpte) or (guest_has_ad(m) and (gpte & PT_ACCESSED_MASK) == 0):
        return False
    spte = sp.spt[index]
    access = sp.access & gpte_access(gpte)
    if not is_last_spte(spte, sp.level):
        child = m.page_tables[spte_to_pfn(spte)]
        return child.gfn == gpte_to_gfn(gpte) and child.access == access
    if m.gfn_of_hva(m.host.pages[spte_to_pfn(spte)].hva) != gpte_to_gfn(gpte):
        return False
    masks = m.masks
    tracked = is_access_track_spte(masks, spte)
    kept = restore_acc_track_spte(masks, spte) if tracked else spte
    if (access & ACC_EXEC_MASK) == 0 and (kept & masks.shadow_x_mask) != 0:
        return False
    if (access & ACC_USER_MASK) == 0 and (kept & masks.shadow_user_mask) != 0:
        return False
    may_write = (protect_clean_gpte(m, access, gpte) & ACC_WRITE_MASK) != 0
    return may_write or not is_mmu_writable_spte(masks, spte)
