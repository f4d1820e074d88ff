# SPDX-License-Identifier: GPL-2.0-only
"""The dirty log: nothing written while logging may be missing from a migration's copy (rule E4 and the copy itself).

The copy is kept as userspace would: all pages when logging starts, then every page a harvest reports, at the moment
userspace gets round to it.  At the end the vCPUs stop, PML buffers are drained and the last harvest is copied; then
copy and memory must agree.  Only under-reporting is wrong: over-reporting costs a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import i64

from fuzzer.oracle.walk import entry_range, usable
from reference_mmu.machine import Machine
from reference_mmu.memslot_update import find_slot
from reference_mmu.memslots import KvmMemorySlot
from reference_mmu.tlb import TLB_D, TLB_W, Vcpu

if TYPE_CHECKING:
    from fuzzer.oracle.judge import Judge


class DirtyLog:
    """Userspace's copies, by slot number: contents by offset in the slot."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.copies: dict[int, list[int]] = {}

    def start(self, m: Machine, slot: KvmMemorySlot) -> None:
        """Logging is on: copy everything."""
        self.copies[slot.number] = [int(m.host.contents(slot.hva + offset)) for offset in range(slot.npages)]

    def stop(self, slot: KvmMemorySlot) -> None:
        self.copies.pop(slot.number, None)

    def copied(self, m: Machine, slot: KvmMemorySlot, first: i64, mask: i64) -> None:
        copy = self.copies.get(slot.number)
        if copy is None:
            return
        for bit in range(m.word_gfns):
            if (mask >> bit) & 1:
                copy[first + bit] = int(m.host.contents(slot.hva + first + bit))

    def discarded(self, m: Machine, hva: i64) -> None:
        """Userspace threw the page away itself and knows that it is zero."""
        for slot in m.memslots:
            if slot.hva <= hva < slot.hva + slot.npages and slot.number in self.copies:
                self.copies[slot.number][hva - slot.hva] = 0

    def returned(self, m: Machine, slot: KvmMemorySlot) -> None:
        """E4: an ioctl returns; no usable entry may let a clean page be written unseen."""
        in_flight = {gfn for vcpu in m.vcpus for gfn in vcpu.pml_buffer}
        in_flight.update(m.fast_pf_marking)
        for vcpu in m.vcpus:
            if not vcpu.tlb or not usable(m, vcpu):
                continue
            silent = silent_rights(m, vcpu)
            for key, entry in vcpu.tlb.items():
                if entry & silent != silent:
                    continue
                first, end = entry_range(m, key)
                for gfn in range(max(first, slot.base_gfn), min(end, slot.end_gfn())):
                    if not m.is_dirty(slot, gfn) and gfn not in in_flight:
                        self.judge.report("writable-after-dirty-log")

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
                if copy[offset] != m.host.contents(slot.hva + offset):
                    self.judge.report("lost-dirty-page")


def silent_rights(m: Machine, vcpu: Vcpu) -> i64:
    """Rights with which an entry lets the CPU write without KVM or PML noticing: W, and D where D is logged."""
    root = vcpu.root
    assert root is not None
    if m.enable_pml and not root.ad_disabled and not root.guest_mode:
        return TLB_W | TLB_D
    return TLB_W
