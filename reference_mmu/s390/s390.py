# SPDX-License-Identifier: GPL-2.0-only
"""A machine of s390, complete (arch/s390/kvm/kvm-s390.c, arch/s390/mm/gmap.c).

The guest's address space, the gmap, shares the page tables of its process: what the process has mapped the guest can
use, and a fault of the guest's is one of the process.  So KVM has no page table to keep, registers no mmu_notifier, and
leaves it to whoever changes an entry of the process (IPTE) to take it out of every TLB at the same time.

The storage of a page table entry has room for a bit that tells of a change (PGSTE.UC): the dirty log is made of those.
Left out: storage keys, pages of 1 MiB, the shadow gmap by which the guest's guest translates, ucontrol, secure guests.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.flow import at_once
from ..kvm.memslots import KvmGfnRange, KvmMemorySlot, search_memslots
from ..kvm.observer import LEAF_ELSE, MARKS_LATER, PTE_NONE, Observable
from ..kvm.operations import start_common_operation
from ..kvm.page_table import PageTable
from ..kvm.vcpu import KvmVcpu
from ..kvm.vm import Vm
from ..mm.gup import fault_in_user
from ..mm.host import HOST_D, HOST_PROTNONE, HOST_W
from ..observed import EV_PF, PF_FIXED, PF_INJECTED
from ..operations import GET_LOG, READ, RUN_VSIE, WRITE, Call
from ..oracle import Oracle
from ..points import FAULT_ENTER
from .dirty_log import kvm_vm_ioctl_get_dirty_log
from .points import FAULT_EXIT, POINTS, SIE_ACCESS
from .vsie import kvm_s390_handle_vsie


class S390(Vm):
    """`changed`: addresses of the process whose PGSTE.UC is set. The bit stays where it is when a memslot moves."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        super().__init__(config, POINTS, sem, actors, operations, oracle)
        self.changed: dict[int, bool] = {}
        self.vcpus.extend([KvmVcpu(number) for number in range(config.vcpus)])
        self.create_memslots(config)
        oracle.attach(self)

    def start(self, actor: i64, call: Call) -> Generator[int, None, object]:
        if call.kind in (READ, WRITE):
            return vcpu_access(self, self.vcpus[actor], call.a, call.kind == WRITE)
        if call.kind == RUN_VSIE:
            return kvm_s390_handle_vsie(self, call.a, call.b)
        if call.kind == GET_LOG:
            return kvm_vm_ioctl_get_dirty_log(self, call.a)
        return start_common_operation(self, call)

    # --- no mmu_notifier: CONFIG_KVM_GENERIC_MMU_NOTIFIER is not selected ---------------------------------------------

    def mmu_notifier_invalidate_range_start(self, start: i64, end: i64) -> Generator[int, None, None]:
        yield from ()

    def mmu_notifier_invalidate_range_end(self, start: i64, end: i64) -> Generator[int, None, None]:
        yield from ()

    def mmu_notifier_clear_flush_young(self, start: i64, end: i64) -> Generator[int, None, bool]:
        return at_once(False)

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return at_once(False)

    def kvm_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return at_once(False)

    def kvm_test_age_gfn(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        return at_once(False)

    # --- memslots and the dirty log -----------------------------------------------------------------------------------

    def kvm_arch_flush_shadow_memslot(self, slot: KvmMemorySlot) -> Generator[int, None, None]:
        """Nothing: the segments are unmapped by gmap_unmap_segment() once the slot is gone."""
        yield from ()

    def kvm_arch_commit_memory_region(
        self, old: KvmMemorySlot | None, new: KvmMemorySlot | None
    ) -> Generator[int, None, None]:
        """Whoever writes is logged all the time."""
        yield from ()

    def kvm_arch_sync_dirty_log(self) -> Generator[int, None, None]:
        """kvm_arch_sync_dirty_log(), of every slot: ptep_test_and_clear_uc() of each page."""
        yield from ()
        self.sync_changed()

    def kvm_arch_mmu_enable_log_dirty_pt_masked(
        self, slot: KvmMemorySlot, gfn_offset: i64, mask: i64
    ) -> Generator[int, None, None]:
        """Nothing has been taken away."""
        yield from ()

    def sync_changed(self) -> None:
        """Bring the bits of slots that log into their bitmaps."""
        for slot in self.memslots:
            if slot.log_dirty_pages:
                for gfn in self.changed_gfns(slot):
                    del self.changed[int(slot.hva + gfn - slot.base_gfn)]
                    self.mark_page_dirty_in_slot(slot, gfn)

    def changed_gfns(self, slot: KvmMemorySlot) -> list[int]:
        """The pages of a memslot whose bit is set."""
        gfns = [int(slot.base_gfn + hva - slot.hva) for hva in self.changed]
        return [gfn for gfn in gfns if slot.contains(gfn)]

    # --- what an observer reads: no table, no TLB -------------------------------------------------------------------

    def dirty_marks(self) -> i64:
        return MARKS_LATER

    def pte_kind(self, pte: i64, level: i64) -> i64:
        return PTE_NONE

    def leaf_difference(self, pte: i64, other: Observable, other_pte: i64) -> i64:
        return LEAF_ELSE

    def silent_rights(self, vcpu: KvmVcpu) -> i64:
        return 0

    def tables(self) -> list[PageTable]:
        return []

    def roots(self) -> list[PageTable]:
        return []

    def root_of(self, vcpu: KvmVcpu) -> PageTable | None:
        return None

    def logged_in_flight(self) -> list[int]:
        return self.logged_in_table()

    def logged_in_table(self) -> list[int]:
        return [gfn for slot in self.memslots for gfn in self.changed_gfns(slot)]

    def stop(self) -> None:
        self.sync_changed()


def vcpu_access(m: S390, vcpu: KvmVcpu, gfn: i64, write: bool) -> Generator[int, None, None]:
    """One load or store of the guest, with as many exits as it takes."""
    while True:
        m.oracle.guest_entered(m, vcpu)
        yield SIE_ACCESS
        slot = search_memslots(m.memslots, gfn)
        if slot is not None and is_allowed(m, slot.hva + gfn - slot.base_gfn, write):
            reach(m, vcpu, gfn, slot.hva + gfn - slot.base_gfn, write)
            return
        yield FAULT_ENTER
        done = slot is not None and (yield from fault_in_user(m, slot.hva + gfn - slot.base_gfn, write))
        m.record(EV_PF, PF_FIXED if done else PF_INJECTED)
        yield FAULT_EXIT
        if not done:
            return  # the guest gets an addressing exception


def is_allowed(m: S390, hva: i64, write: bool) -> bool:
    """Does the process's entry allow the access? There are no NUMA hints for what is mapped by pfn."""
    host = m.host
    if host.pte[hva] < 0 or (write and (host.flags[hva] & HOST_W) == 0):
        return False
    return (host.flags[hva] & HOST_PROTNONE) == 0 or not host.vm_normal_page(hva)


def reach(m: S390, vcpu: KvmVcpu, gfn: i64, hva: i64, write: bool) -> None:
    """The access, and what the CPU notes of it in the entry."""
    if write:
        m.host.flags[hva] |= HOST_D
        m.changed[int(hva)] = True
    m.guest_access(vcpu, gfn, m.host.pte[hva], write)
