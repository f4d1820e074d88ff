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
        self.free_obsolete_roots = False  # KVM_REQ_MMU_FREE_OBSOLETE_ROOTS
        self.pml_enabled = False
        self.pml_buffer: list[int] = []
        self.fault_present = False  # of the last violation: did the SPTE have any of R, W, X?
        self.cr3: i64 = 0  # gfn of the guest's root table, of an indirect MMU
        self.store_index: i64 = -1  # the entry a store of the guest to one of its page tables is for, -1: to other data
        self.store_gpte: i64 = 0
