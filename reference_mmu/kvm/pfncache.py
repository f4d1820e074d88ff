# SPDX-License-Identifier: GPL-2.0-only
"""A gfn-to-pfn cache: guest memory that KVM keeps mapped, protected by the mmu_notifier (virt/kvm/pfncache.c).

A refresh looks the page up without gpc->lock, and then looks whether an invalidation has come in between. What is left
of a cache when its refresh has ended, its user and its invalidation, is left out: every refresh is the first of a cache
of its own.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..mm.errno import EFAULT
from ..mm.gup import FOLL_WRITE
from ..observed import EV_ERRNO
from ..points import GPC_CHECK, GPC_LOOKUP
from .follow_pfn import KvmFollowPfn, kvm_follow_pfn
from .kvm import Kvm
from .pfn import is_error_noslot_pfn
from .release import kvm_release_page_clean, kvm_release_page_unused, kvm_release_pfn_clean


def kvm_gpc_refresh(kvm: Kvm, gfn: i64) -> Generator[int, None, None]:
    """kvm_gpc_refresh()"""
    kvm.srcu.lock(kvm.actor)
    r = yield from hva_to_pfn_retry(kvm, gfn)
    if r != 0:
        kvm.record(EV_ERRNO, -r)
    kvm.srcu.unlock(kvm.actor)


def hva_to_pfn_retry(kvm: Kvm, gfn: i64) -> Generator[int, None, i64]:
    """hva_to_pfn_retry(): 0, the page is cached and let go of, or -EFAULT. SRCU held."""
    while True:
        yield GPC_LOOKUP
        mmu_seq = kvm.mmu_invalidate_seq
        kfp = KvmFollowPfn(kvm.gfn_to_memslot(gfn), gfn, FOLL_WRITE)
        kfp.offers = False
        pfn = yield from kvm_follow_pfn(kvm, kfp)
        if is_error_noslot_pfn(pfn):
            return -EFAULT
        yield GPC_CHECK
        if not mmu_notifier_retry_cache(kvm, mmu_seq):
            break
        if kvm.sem.pfncache_release_unused:
            kvm_release_page_unused(kvm, kfp.refcounted_page)
        else:
            kvm_release_pfn_clean(kvm, pfn)
    # gpc->lock is held, which an invalidation takes first: no reference is needed any more.
    kvm.oracle.cache_refreshed(kvm, pfn)
    if kvm.sem.pfncache_release_unused:
        kvm_release_page_clean(kvm, kfp.refcounted_page)
    else:
        kvm_release_pfn_clean(kvm, pfn)
    return 0


def mmu_notifier_retry_cache(kvm: Kvm, mmu_seq: i64) -> bool:
    """mmu_notifier_retry_cache(): was the page invalidated, or is it now? Of any page of the machine."""
    return kvm.mn_active_invalidate_count != 0 or kvm.mmu_invalidate_seq != mmu_seq
