# SPDX-License-Identifier: GPL-2.0-only
"""Guest page tables and the shadow pages made from them.

A translation may be older than the guest's entry: hardware, too, may keep it until the guest flushes.  What must hold
is what the guest's flush relies on: a table whose shadow page is in sync cannot be written behind KVM's back, its SPTEs
are those of the guest's entries, and after INVLPG or a load of CR3 nothing is older than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import i64

from fuzzer.oracle.walk import entry_gfns, entry_range, hva_of_gfn, usable
from reference_mmu.gpte import (
    gpte_access,
    gpte_to_gfn,
    guest_has_ad,
    is_present_gpte,
    protect_clean_gpte,
)
from reference_mmu.machine import Machine
from reference_mmu.page_table import KvmMmuPage, is_obsolete_sp
from reference_mmu.spte import (
    ACC_WRITE_MASK,
    PT_ACCESSED_MASK,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    spte_to_pfn,
)
from reference_mmu.tlb import TLB_W, Vcpu

if TYPE_CHECKING:
    from fuzzer.oracle.judge import Judge


class GuestTables:
    """`stored`: word of a guest page table -> the turn in which the last store to it was complete. A word is in
    `emulating` as long as emulated stores to it are not, and in `foreign` if the host process changed it: KVM is not
    told of that."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.stored: dict[int, int] = {}
        self.emulating: list[int] = []
        self.foreign: dict[int, bool] = {}
        self.flush_begun: dict[int, int] = {}  # by vCPU number

    def written(self, m: Machine, hva: i64, index: i64) -> None:
        self.stored[int(hva * m.entries + index)] = int(self.judge.turns)

    def write_begun(self, m: Machine, gfn: i64, index: i64) -> None:
        self.emulating.append(int(hva_of_gfn(m, gfn) * m.entries + index))

    def write_emulated(self, m: Machine, gfn: i64, index: i64) -> None:
        """The slot may have gone meanwhile, and its shadow pages with it."""
        hva = hva_of_gfn(m, gfn)
        if index < 0 or hva < 0:
            return
        word = int(hva * m.entries + index)
        self.stored[word] = int(self.judge.turns)
        if word in self.emulating:
            self.emulating.remove(word)

    def discarded(self, m: Machine, hva: i64) -> None:
        if not m.root_role_direct:
            for word in range(hva * m.entries, (hva + 1) * m.entries):
                self.foreign[word] = True

    def flush_begins(self, vcpu: Vcpu) -> None:
        self.flush_begun[int(vcpu.number)] = int(self.judge.turns)

    def flush_ends(self, m: Machine, vcpu: Vcpu, first: i64, end: i64) -> None:
        """What the vCPU can use from now on is no older than when its flush began."""
        begun = self.flush_begun[int(vcpu.number)]
        for key in vcpu.tlb:
            start, stop = entry_range(m, key)
            if start < end and first < stop:
                self.judge.report("stale-after-guest-flush")
        for addr in range(first, end):
            sp = vcpu.root
            while sp is not None and not sp.direct:
                index = m.spte_index(addr, sp.level)
                word = word_of(m, sp, index)
                if not is_shadow_present_pte(sp.spt[index]) or word < 0 or word in self.foreign:
                    break
                if not agrees(m, sp, index):
                    if word not in self.emulating and self.stored.get(word, 0) < begun:
                        self.judge.report("stale-after-guest-flush")
                    break
                if is_last_spte(sp.spt[index], sp.level):
                    break
                sp = m.page_tables[spte_to_pfn(sp.spt[index])]

    def mmu_unlocking(self, m: Machine) -> None:
        """Whoever holds mmu_lock next takes a shadow page that is not unsync for the guest's table."""
        for sp in m.active_mmu_pages:
            if sp.direct or sp.unsync or is_obsolete_sp(m, sp):
                continue
            self.judge_protection(m, sp)
            for index in range(m.entries):
                word = word_of(m, sp, index)
                if not is_shadow_present_pte(sp.spt[index]) or word < 0 or word in self.foreign:
                    continue
                if not agrees(m, sp, index) and word not in self.emulating:
                    self.judge.report("shadow-page-differs")

    def judge_protection(self, m: Machine, sp: KvmMmuPage) -> None:
        for vcpu in m.vcpus:
            if not vcpu.tlb or not usable(m, vcpu):
                continue
            for key, entry in vcpu.tlb.items():
                first, end = entry_gfns(m, key, entry)
                if (entry & TLB_W) != 0 and first <= sp.gfn < end:
                    self.judge.report("writable-guest-table")


def word_of(m: Machine, sp: KvmMmuPage, index: i64) -> int:
    """The word of guest memory that an entry of a shadow page was made from, -1: its memslot is gone."""
    hva = hva_of_gfn(m, sp.gfn)
    return int(hva * m.entries + index) if hva >= 0 else -1


def agrees(m: Machine, sp: KvmMmuPage, index: i64) -> bool:
    """Does a present SPTE allow no more than the guest's entry, and lead to the same place?"""
    gpte = m.host.words[word_of(m, sp, index)]
    if not is_present_gpte(gpte) or (guest_has_ad(m) and (gpte & PT_ACCESSED_MASK) == 0):
        return False
    spte = sp.spt[index]
    access = sp.access & gpte_access(gpte)
    if not is_last_spte(spte, sp.level):
        child = m.page_tables[spte_to_pfn(spte)]
        return child.gfn == gpte_to_gfn(gpte) and child.access == access
    if m.gfn_of_hva(m.host.pages[spte_to_pfn(spte)].hva) != gpte_to_gfn(gpte):
        return False
    may_write = (protect_clean_gpte(m, access, gpte) & ACC_WRITE_MASK) != 0
    return may_write or not is_mmu_writable_spte(m.masks, spte)
