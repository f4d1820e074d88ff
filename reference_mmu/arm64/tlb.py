# SPDX-License-Identifier: GPL-2.0-only
"""TLB invalidation on arm64: instructions that hardware broadcasts and waits for (arch/arm64/kvm/hyp/nvhe/tlb.c).

Nobody is thrown out of the guest, and nobody asked to acknowledge: when the DSB behind a TLBI completes, no CPU uses
what it names any more.  Here the invalidation ends at once when the actor goes on from the point between the two.
Real CPUs also drop what they have cached of both stages together, all of it; that of other addresses may stay, which is
what makes a range that is too small visible.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.tlb import invalidate
from ..kvm.vcpu import KvmVcpu
from ..stage2.flush import flush_remote_range
from ..stage2.machine import Stage2Machine


def kvm_tlb_flush_vmid_range(m: Stage2Machine, first: i64, end: i64, point: int) -> Generator[int, None, None]:
    """Invalidate gfns [first, end) on all CPUs: what the kernel does by range, or by address and level of one entry
    (__kvm_tlb_flush_vmid_ipa). Yields `point` while CPUs may still use what they have."""
    return flush_remote_range(m, first, end, point)


def kvm_tlb_flush_vmid_ipa_nsh(m: Stage2Machine, vcpu: KvmVcpu, gfn: i64) -> None:
    """Invalidate an address on this CPU alone."""
    invalidate(m, vcpu, gfn)
