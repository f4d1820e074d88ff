# SPDX-License-Identifier: GPL-2.0-only
"""Remote TLB flushes (kvm_flush_remote_tlbs() in virt/kvm/kvm_main.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..observed import EV_FLUSH
from .kvm import Kvm


def kvm_flush_remote_tlbs(kvm: Kvm, point: int) -> Generator[int, None, None]:
    """Flush every vCPU. Yields `point` between posting the requests and the last acknowledgement: until then the
    other vCPUs may still use what they have cached. One that has acknowledged runs on, and caches anew.

    The _range and _memslot forms fall back to this one: only Hyper-V offers KVM a flush by range.
    """
    kvm.record(EV_FLUSH, i64(0))
    kvm.request_tlb_flush()
    yield point
    kvm.await_tlb_flush()
