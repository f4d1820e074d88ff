# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_page_fault (arch/x86/kvm/mmu/mmu_internal.h)."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from ..kvm.memslots import KvmMemorySlot
from .spte import PG_LEVEL_4K, PG_LEVEL_NUM


@mypyc_attr(acyclic=True, free_list_len=1)
class KvmPageFault:
    """struct kvm_page_fault: what is known about one fault so far."""

    def __init__(self, addr: i64, write: bool, present: bool, prefetch: bool, upgrade_fails: bool) -> None:
        self.addr = addr  # in pages
        self.gfn = addr  # of a direct MMU; else the guest's page tables have to tell
        self.write = write
        self.present = present  # the SPTE had any of R, W, X when the CPU looked
        self.prefetch = prefetch
        self.upgrade_fails = upgrade_fails  # the primary MMU's opportunistic GUP-fast for writing fails this time
        self.is_private = False  # what the gfn was when the CPU exited
        self.max_level: i64 = PG_LEVEL_NUM
        self.req_level: i64 = PG_LEVEL_4K
        self.goal_level: i64 = PG_LEVEL_4K
        self.slot: KvmMemorySlot | None = None
        self.mmu_seq: i64 = 0
        self.pfn: i64 = 0
        self.refcounted_page: i64 = -1  # pfn whose reference the fault holds, -1: none
        self.map_writable = False
        self.fast = False  # resolved by fast_page_fault()
        self.frozen = False  # RET_PF_RETRY because of a FROZEN SPTE
        self.read_only = False  # the SPTE that was made, or found equal, is not MMU-writable
        self.injected = False  # RET_PF_RETRY after a #PF was injected: the guest's own page tables forbid the access
