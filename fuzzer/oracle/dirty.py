# SPDX-License-Identifier: GPL-2.0-only
"""The dirty log: nothing written while logging may be missing from a migration's copy.

The copy is kept as userspace would: all pages when logging starts, then every page a harvest reports, at the moment
userspace gets round to it.  At the end the vCPUs stop, PML buffers are drained and the last harvest is copied; then
copy and memory must agree.  Only under-reporting is wrong: over-reporting costs a copy.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from fuzzer.oracle.walk import entry_gfns, leaf_of, obsolete, pages_mapping, roots_of, usable
from reference_mmu.kvm.memslot_update import find_slot
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import is_writable_pte
from reference_mmu.x86.tlb import TLB_D, TLB_W, Vcpu


@mypyc_attr(acyclic=True, free_list_len=1)
class DirtyLog:
    """Userspace's copies, by slot number: contents by offset in the slot."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.copies: dict[int, list[int]] = {}
        # By actor in a harvest: what each PML buffer has held since before, by vCPU.
        self.owed: dict[int, dict[int, list[int]]] = {}

    def start(self, m: Machine, slot: KvmMemorySlot) -> None:
        """Logging is on: copy everything."""
        self.copies[slot.number] = [image(m, slot.hva + offset) for offset in range(slot.npages)]

    def stop(self, slot: KvmMemorySlot) -> None:
        self.copies.pop(slot.number, None)

    def copied(self, m: Machine, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        copy = self.copies.get(slot.number)
        if copy is None:
            return
        for bit in range(m.word_gfns):
            if (mask >> bit) & 1:
                copy[first + bit] = image(m, slot.hva + first + bit)

    def discarded(self, m: Machine, hva: i64) -> None:
        """Userspace threw the page away itself and knows that it is zero."""
        for slot in m.memslots:
            if slot.hva <= hva < slot.hva + slot.npages and slot.number in self.copies:
                self.copies[slot.number][hva - slot.hva] = 0

    def harvest_begun(self, m: Machine) -> None:
        self.owed[int(m.actor)] = {int(vcpu.number): list(vcpu.pml_buffer) for vcpu in m.vcpus}

    def drained(self, vcpu: Vcpu) -> None:
        for owed in self.owed.values():
            owed.pop(vcpu.number, None)

    def bitmap_read(self, m: Machine, slot: KvmMemorySlot) -> None:
        """What was logged before a GET is in the bitmap by now, unless the vCPU is on its way out: the kick does not
        wait for the exit. What was logged since is the next harvest's."""
        for number, gfns in self.owed.pop(int(m.actor), {}).items():
            if not m.vcpus[number].kicked and any(slot.contains(g) and not m.is_dirty(slot, g) for g in gfns):
                self.reports.report("late-dirty-report")

    def returned(self, m: Machine, slot: KvmMemorySlot) -> None:
        """When a dirty-log ioctl returns, no usable entry, and no SPTE, may let a clean page be written unseen."""
        in_flight = {gfn for vcpu in m.vcpus for gfn in vcpu.pml_buffer}
        in_flight.update(m.fast_pf_marking)
        clean = [
            gfn for gfn in range(slot.base_gfn, slot.end_gfn()) if not m.is_dirty(slot, gfn) and gfn not in in_flight
        ]
        for root in roots_of(m):
            if not obsolete(m, root) and any(silent(m, root, page) for page in pages_mapping(m, root, clean)):
                self.reports.report("writable-after-dirty-log")
        for vcpu in m.vcpus:
            if vcpu.tlb.n == 0 or not usable(m, vcpu):
                continue
            rights = silent_rights(m, vcpu)
            for at in range(vcpu.tlb.n):
                key, entry = vcpu.tlb.keys[at], vcpu.tlb.values[at]
                first, end = entry_gfns(m, key, entry)
                if entry & rights == rights and any(first <= gfn < end for gfn in clean):
                    self.reports.report("writable-after-dirty-log")

    def finish(self, m: Machine) -> None:
        """The last harvest, with all vCPUs stopped."""
        for vcpu in m.vcpus:
            m.vm_exit(vcpu)
        for number, copy in self.copies.items():
            slot = find_slot(m, number)
            if slot is None or not slot.log_dirty_pages:
                continue
            for offset in range(slot.npages):
                if m.is_dirty(slot, slot.base_gfn + offset):
                    continue
                if copy[offset] != image(m, slot.hva + offset):
                    self.reports.report("lost-dirty-page")


def image(m: Machine, hva: i64) -> int:
    """What a copy of the page would hold: its stamp, and the guest's page-table entries in it, in which KVM sets A and
    D on its own. 0 for a page of zeroes."""
    digest = int(m.host.contents(hva))
    if len(m.host.words) != 0:
        for index in range(m.entries):
            digest = (digest * 1000003 + int(m.host.words[hva * m.entries + index])) % (1 << 61)
    return digest


def logs_by_d(m: Machine, root: KvmMmuPage) -> bool:
    """Does PML log what is written through this root? Else KVM must see every write: W tells."""
    return m.enable_pml and not root.ad_disabled and not root.guest_mode


def silent_rights(m: Machine, vcpu: Vcpu) -> i64:
    """Rights with which an entry lets the CPU write without KVM or PML noticing: W, and D where D is logged."""
    root = vcpu.root
    assert root is not None
    return TLB_W | TLB_D if logs_by_d(m, root) else TLB_W


def silent(m: Machine, root: KvmMmuPage, page: i64) -> bool:
    """Would an entry made from the SPTE of a page have these rights?"""
    spte, level = leaf_of(m, root, page)
    if level == 0 or not is_writable_pte(spte):
        return False
    return not logs_by_d(m, root) or (spte & m.masks.hw_dirty) != 0
