# SPDX-License-Identifier: GPL-2.0-only
"""A TLB miss of a guest on e500 (arch/powerpc/kvm/e500_mmu_host.c).

As in v6.13 up to e500-faultin-pfn, before the five commits merged by 71b7bf1702c9 mend what it breaks.  What the guest
does not get is told as an error that ends its access: the kernel prints a line and lets the guest run into the same
miss for ever.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import Faultin, gfn_to_pfn, kvm_faultin_pfn_without_writable
from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.pfn import NO_PAGE, is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_pfn_clean,
    kvm_set_pfn_accessed,
    kvm_set_pfn_dirty,
)
from ..kvm.vcpu import KvmVcpu
from ..mm.errno import EAGAIN, EINVAL
from ..mm.gup import FOLL_WRITE
from ..observed import PF_EMULATE, PF_ERROR, PF_FIXED, PF_RETRY
from ..stage2.fault import Fault
from .points import E500_GUP, E500_LOCK, E500_PUT, E500_SEQ, E500_WRITE
from .software_tlb import SoftwareTlb


class ShadowMap:
    """What kvmppc_e500_shadow_map() finds: the size of the entry to be made, the pfn that it begins with, and the page
    that was taken. `pfnmap`: the pfn is the VMA's, and nothing was taken."""

    def __init__(self) -> None:
        self.level: i64 = 1
        self.pfn: i64 = NO_PAGE
        self.page: i64 = NO_PAGE
        self.pfnmap = False


def kvmppc_mmu_map(m: SoftwareTlb, vcpu: KvmVcpu, fault: Fault, tlb1: bool) -> Generator[int, None, i64]:
    """Returns PF_*. `tlb1`: the guest's entry is one of TLB1. SRCU held."""
    slot = m.gfn_to_memslot(fault.gfn)
    if slot is None or slot.invalid:
        return PF_EMULATE
    yield E500_SEQ
    mmu_seq = m.mmu_invalidate_seq
    yield E500_GUP
    found = ShadowMap()
    if tlb1:
        size_entry(m, slot, fault.gfn, found)
    if not found.pfnmap:
        found.pfn = yield from look_up(m, slot, fault.gfn, found)
        if is_error_noslot_pfn(found.pfn):
            return PF_ERROR
        found.pfn &= ~(m.pages_per_hpage(found.level) - 1)
    yield E500_LOCK
    m.write_lock()
    ret = shadow_map(m, slot, fault.gfn, found, mmu_seq)
    yield from release(m, found, ret)
    if ret != 0:
        return PF_RETRY if ret == -EAGAIN else PF_ERROR
    yield E500_WRITE
    m.map_tlb(vcpu, fault.gfn, found.level, found.pfn, True)
    return PF_FIXED


def size_entry(m: SoftwareTlb, slot: KvmMemorySlot, gfn: i64, found: ShadowMap) -> None:
    """What the VMA says, under mmap_lock: VM_PFNMAP is contiguous from vm_pgoff on, so that the pfn need not be looked
    up, and an entry may be as large as VMA and memslot allow; one of hugetlb is as large as its pages."""
    hva = slot.hva + gfn - slot.base_gfn
    pages = m.pages_per_hpage(2)
    if m.host.vma_is_pfnmap(hva):
        found.pfnmap = True
        pfn = m.host.pte[hva]
        first = gfn & ~(pages - 1)
        inside = slot.base_gfn <= first and first + pages <= slot.end_gfn()
        if inside and (gfn - pfn) & (pages - 1) == 0 and is_contiguous(m, hva - (gfn - first), pages):
            found.level = 2
            pfn &= ~(pages - 1)
        found.pfn = pfn
    elif m.host.backing[hva // m.host.block] == "hugetlb":
        found.level = 2


def is_contiguous(m: SoftwareTlb, hva: i64, pages: i64) -> bool:
    """Are the pages from hva on in order? In hardware a VM_PFNMAP mapping is so by definition, mapped or not; here the
    host may have put in another page after it took one away."""
    pfn = m.host.pte[hva]
    return pfn >= 0 and all(m.host.pte[hva + at] == pfn + at for at in range(pages))


def look_up(m: SoftwareTlb, slot: KvmMemorySlot, gfn: i64, found: ShadowMap) -> Generator[int, None, i64]:
    """A page to write to, whatever the guest does. The pfn, or KVM_PFN_*."""
    if not m.sem.e500_faultin_pfn:
        return (yield from gfn_to_pfn(m, slot, gfn, True))
    out = Faultin(False)
    pfn = yield from kvm_faultin_pfn_without_writable(m, slot, gfn, FOLL_WRITE, out)
    found.page = out.page
    return pfn


def shadow_map(m: SoftwareTlb, slot: KvmMemorySlot, gfn: i64, found: ShadowMap, mmu_seq: i64) -> i64:
    """kvmppc_e500_shadow_map() from the stale check on. Returns 0, -EAGAIN if the page is possibly gone, -EINVAL if
    the host has no page there any more. mmu_lock held."""
    if mmu_invalidate_retry(m, mmu_seq):
        return -EAGAIN
    host_pfn = m.host.pte[slot.hva + gfn - slot.base_gfn]
    if host_pfn < 0:
        return -EINVAL
    if found.pfn < 0:
        found.pfn = host_pfn  # vm_pgoff names a page whether or not it is mapped
    if not m.sem.e500_dirty_in_shadow_map:
        kvm_set_pfn_accessed(m, found.pfn)  # kvmppc_e500_ref_setup()
    if not m.sem.e500_faultin_pfn:
        kvm_set_pfn_dirty(m, found.pfn)  # the guest's entry is writable
    return 0


def release(m: SoftwareTlb, found: ShadowMap, ret: i64) -> Generator[int, None, None]:
    """The end of kvmppc_e500_shadow_map(): the page and mmu_lock are let go of. Before e500-faultin-pfn the pfn is
    released whether or not the page was taken."""
    if m.sem.e500_faultin_pfn:
        kvm_release_faultin_page(m, found.page, ret != 0, True)
    elif m.sem.e500_accessed_before_unlock:
        kvm_release_pfn_clean(m, found.pfn)
    m.write_unlock()
    if not m.sem.e500_accessed_before_unlock:
        yield E500_PUT
        kvm_release_pfn_clean(m, found.pfn)
