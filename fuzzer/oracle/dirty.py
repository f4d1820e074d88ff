# SPDX-License-Identifier: GPL-2.0-only
"""The dirty log: nothing written while logging may be missing from a migration's copy.

The copy is kept as userspace would: all pages when logging starts, then every page a harvest reports, at the moment
userspace gets round to it.  At the end the vCPUs stop, PML buffers are drained and the last harvest is copied; then
copy and memory must agree.  Only under-reporting is wrong: over-reporting costs a copy.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.memslots import KvmMemorySlot, find_slot
from reference_mmu.kvm.observer import Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vcpu import KvmVcpu


@mypyc_attr(acyclic=True, free_list_len=1)
class DirtyLog:
    """Userspace's copies, by slot number: contents by offset in the slot."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.copies: dict[int, list[int]] = {}
        # By actor in a harvest: what each PML buffer has held since before, by vCPU; and what page tables have.
        self.owed: dict[int, dict[int, list[int]]] = {}
        self.owed_by_table: dict[int, list[int]] = {}

    def start(self, m: Observable, slot: KvmMemorySlot) -> None:
        """Logging is on: copy everything."""
        self.copies[slot.number] = [image(m, slot.hva + offset) for offset in range(slot.npages)]

    def stop(self, slot: KvmMemorySlot) -> None:
        self.copies.pop(slot.number, None)

    def copied(self, m: Observable, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        copy = self.copies.get(slot.number)
        if copy is None:
            return
        for bit in range(m.word_gfns):
            if (mask >> bit) & 1:
                copy[first + bit] = image(m, slot.hva + first + bit)

    def discarded(self, m: Observable, hva: i64) -> None:
        """Userspace threw the page away itself and knows that it is zero."""
        for slot in m.memslots:
            if slot.hva <= hva < slot.hva + slot.npages and slot.number in self.copies:
                self.copies[slot.number][hva - slot.hva] = 0

    def harvest_begun(self, m: Observable) -> None:
        self.owed[int(m.actor)] = {int(vcpu.number): list(m.logged_by(vcpu)) for vcpu in m.vcpus}
        in_table = m.logged_in_table()
        if in_table:
            self.owed_by_table[int(m.actor)] = in_table

    def drained(self, vcpu: KvmVcpu) -> None:
        for owed in self.owed.values():
            owed.pop(vcpu.number, None)

    def bitmap_read(self, m: Observable, slot: KvmMemorySlot) -> None:
        """What was logged before a GET is in the bitmap by now, unless the vCPU is on its way out: the kick does not
        wait for the exit. What was logged since is the next harvest's; so is what an unmapping has on its way."""
        for number, gfns in self.owed.pop(int(m.actor), {}).items():
            if not m.vcpus[number].kicked and any(slot.contains(g) and not m.is_dirty(slot, g) for g in gfns):
                self.reports.report("late-dirty-report")
        in_table = self.owed_by_table.pop(int(m.actor), None)
        if in_table is not None:
            left = set(m.logged_in_table())
            if any(slot.contains(gfn) and gfn in left and not m.is_dirty(slot, gfn) for gfn in in_table):
                self.reports.report("late-dirty-report")

    def returned(self, m: Observable, slot: KvmMemorySlot) -> None:
        """When a dirty-log ioctl returns, no usable entry, and no SPTE, may let a clean page be written unseen."""
        in_flight = set(m.logged_in_flight())
        clean = [
            gfn for gfn in range(slot.base_gfn, slot.end_gfn()) if not m.is_dirty(slot, gfn) and gfn not in in_flight
        ]
        for root in m.roots():
            if not m.obsolete(root) and any(silent(m, root, page) for page in m.pages_mapping(root, clean)):
                self.reports.report("writable-after-dirty-log")
        for vcpu in m.vcpus:
            if vcpu.tlb.n == 0 or not m.usable(vcpu):
                continue
            rights = m.silent_rights(vcpu)
            for at in range(vcpu.tlb.n):
                key, entry = vcpu.tlb.keys[at], vcpu.tlb.values[at]
                first, end = m.entry_gfns(key, entry)
                if entry & rights == rights and any(first <= gfn < end for gfn in clean):
                    self.reports.report("writable-after-dirty-log")

    def finish(self, m: Observable) -> None:
        """The last harvest, with all vCPUs stopped."""
        m.stop()
        for number, copy in self.copies.items():
            slot = find_slot(m.memslots, number)
            if slot is None or not slot.log_dirty_pages:
                continue
            for offset in range(slot.npages):
                if m.is_dirty(slot, slot.base_gfn + offset):
                    continue
                if copy[offset] != image(m, slot.hva + offset):
                    self.reports.report("lost-dirty-page")


def image(m: Observable, hva: i64) -> int:
    """What a copy of the page would hold: its stamp, and the guest's page-table entries in it, in which KVM sets A and
    D on its own. 0 for a page of zeroes."""
    digest = int(m.host.contents(hva))
    if len(m.host.words) != 0:
        for index in range(m.entries):
            digest = (digest * 1000003 + int(m.host.words[hva * m.entries + index])) % (1 << 61)
    return digest


def silent(m: Observable, root: PageTable, page: i64) -> bool:
    """Would an entry made from the leaf of a page let the CPU write without KVM, or a log of hardware's, noticing?"""
    pte, level = m.leaf_of(root, page)
    return level != 0 and m.leaf_silent(root, pte)
