# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_vcpu_arch: what x86 adds to a vCPU."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from ..kvm.vcpu import KvmVcpu
from .page_table import KvmMmuPage


@mypyc_attr(acyclic=True)
class Vcpu(KvmVcpu):
    """Its root, its PML buffer, its pending requests, and what the guest has told it."""

    def __init__(self, number: i64) -> None:
        super().__init__(number)
        self.root: KvmMmuPage | None = None
        self.guest_mode = False  # runs L2
        self.outside_guest_mode = True  # mode: it has left, and looks at requests before it enters
        self.free_obsolete_roots = False  # KVM_REQ_MMU_FREE_OBSOLETE_ROOTS
        self.mmu_sync = False  # KVM_REQ_MMU_SYNC
        self.tlb_flush = False  # KVM_REQ_TLB_FLUSH
        self.update_cpu_dirty_logging = False  # KVM_REQ_UPDATE_CPU_DIRTY_LOGGING
        self.pml_enabled = False
        self.pml_buffer: list[int] = []
        self.fault_present = False  # of the last violation: did the SPTE have any of R, W, X?
        self.walk_error_present = False  # PFERR_PRESENT_MASK of the #PF with which the last walk of guest tables ended
        self.cr3: i64 = 0  # gfn of the guest's root table, of an indirect MMU
        self.store_index: i64 = -1  # the entry a store of the guest to one of its page tables is for, -1: to other data
        self.store_gpte: i64 = 0
        self.virtualizes_apic_accesses = False  # SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES
        self.apic_access_addr: i64 = -1  # APIC_ACCESS_ADDR of its VMCS, as a pfn; -1: nothing was ever written there
        self.apic_page_reload = False  # KVM_REQ_APIC_PAGE_RELOAD
        self.reload_vmcs01_apic_access_page = False  # that request came while L2 ran
        self.reloads_apic_page = False  # it has taken such a request, and is about to look the page up
