# SPDX-License-Identifier: GPL-2.0-only
"""The pages that a vCPU keeps for new page tables, since none can be waited for under mmu_lock (struct
kvm_mmu_memory_cache in virt/kvm/kvm_main.c)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from ..kvm.vcpu import KvmVcpu
from ..mm.errno import ENOMEM
from ..operations import MISHAP_NO_MEMORY
from .machine import Stage2Machine

CAPACITY: Final[i64] = 40
"""KVM_ARCH_NR_OBJS_PER_MEMORY_CACHE of arm64; others have 32, which is as good as no limit here, too."""


def kvm_mmu_topup_memory_cache(m: Stage2Machine, vcpu: KvmVcpu, least: i64) -> i64:
    """Have at least so many pages in hand; filled to the brim if they are fewer. May sleep. Returns 0 or -ENOMEM."""
    m.might_sleep()
    if m.memory_cache[vcpu.number] >= least:
        return 0
    if m.failing(MISHAP_NO_MEMORY):
        return -ENOMEM
    m.memory_cache[vcpu.number] = CAPACITY
    return 0


def kvm_mmu_memory_cache_alloc(m: Stage2Machine, vcpu: KvmVcpu) -> None:
    """Take a page. Who topped the cache up finds one; else the kernel warns, and asks the allocator after all."""
    if not m.warn_on(m.memory_cache[vcpu.number] == 0, "kvm_mmu_memory_cache_alloc: the cache is empty"):
        m.memory_cache[vcpu.number] -= 1
