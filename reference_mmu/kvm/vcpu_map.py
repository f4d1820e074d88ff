# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory that KVM maps for itself: kvm_vcpu_map() and kvm_vcpu_unmap() (virt/kvm/kvm_main.c).

KVM reads and writes such a page through the kernel's address space, without an entry in a page table of the guest's and
without the mmu_notifier.  What keeps the page in its place meanwhile is the subject of the series' commits here: first
a reference, then a pin, and in the end there is no map of memory that cannot be pinned.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64, mypyc_attr

from ..mm.errno import EINVAL
from ..mm.gup import FOLL_WRITE
from ..observed import EV_MAP, EV_READ, MAP_PINNED, MAP_REFUSED, MAP_UNPINNED
from ..points import MAP_UNMAP, MAP_USE
from .faultin import gfn_to_pfn
from .follow_pfn import KvmFollowPfn, kvm_follow_pfn
from .kvm import Kvm
from .pfn import NO_PAGE, is_error_noslot_pfn
from .release import kvm_release_pfn_clean, kvm_release_pfn_dirty, kvm_set_page_accessed, kvm_set_page_dirty

KVM_UNMAPPED_PAGE: Final[i64] = -2
"""The poisoned pointer that stands for "no struct page", before it is NULL."""
NO_HVA: Final[i64] = -1


@mypyc_attr(acyclic=True)
class KvmHostMap:
    """struct kvm_host_map, zeroed.

    `hva`          the kernel's address of the page, here its pfn; NO_HVA: nothing is mapped.
    `page`         its struct page if it has one, which says how it is unmapped.
    `pinned_page`  the page that the look-up took, which is to be let go of: refcounted_page before it was pinned.
    `writable`     KVM writes to it, since vcpu-map-writable-at-map-time.
    """

    def __init__(self) -> None:
        self.page: i64 = NO_PAGE
        self.hva: i64 = NO_HVA
        self.pfn: i64 = 0
        self.gfn: i64 = 0
        self.pinned_page: i64 = NO_PAGE
        self.writable = False

    def is_mapped(self) -> bool:
        return self.hva != NO_HVA


def kvm_vcpu_map(kvm: Kvm, gfn: i64, host_map: KvmHostMap | None) -> Generator[int, None, i64]:
    """kvm_vcpu_map(): 0, -EINVAL. KVM will write to the page. SRCU held."""
    return __kvm_vcpu_map(kvm, gfn, host_map, True)


def kvm_vcpu_map_readonly(kvm: Kvm, gfn: i64, host_map: KvmHostMap | None) -> Generator[int, None, i64]:
    """kvm_vcpu_map_readonly(): KVM will only read it. The same as the other before vcpu-map-writable-at-map-time."""
    return __kvm_vcpu_map(kvm, gfn, host_map, not kvm.sem.vcpu_map_writable_at_map_time)


def __kvm_vcpu_map(kvm: Kvm, gfn: i64, host_map: KvmHostMap | None, writable: bool) -> Generator[int, None, i64]:
    """__kvm_vcpu_map(). That the kernel has no address left for the page, -EFAULT, is left out."""
    sem = kvm.sem
    if not sem.vcpu_map_drop_null_map_check and host_map is None:
        return -EINVAL
    assert host_map is not None  # NULL would be dereferenced
    if sem.vcpu_map_init_all_fields:
        host_map.page = no_struct_page(kvm)
        host_map.hva = NO_HVA
        host_map.gfn = gfn
        host_map.pinned_page = NO_PAGE
        host_map.writable = writable

    kfp = KvmFollowPfn(kvm.gfn_to_memslot(gfn), gfn, FOLL_WRITE)
    if sem.vcpu_map_follow_pfn:
        if sem.vcpu_map_write_gup_only_when_writable and not writable:
            kfp.flags = 0
        kfp.offers = False
        kfp.pin = sem.vcpu_map_foll_pin
        pfn = yield from kvm_follow_pfn(kvm, kfp)
    else:
        pfn = yield from gfn_to_pfn(kvm, kfp.slot, gfn, True)
    if sem.vcpu_map_init_all_fields:
        host_map.pfn = pfn
    if is_error_noslot_pfn(pfn):
        kvm.record(EV_MAP, MAP_REFUSED)
        return -EINVAL

    host_map.pfn = pfn
    host_map.gfn = gfn
    host_map.page = pfn if kvm.host.pages[pfn].has_struct else no_struct_page(kvm)
    host_map.hva = pfn
    host_map.pinned_page = kfp.refcounted_page
    host_map.writable = writable
    pinned = kfp.pin and kfp.refcounted_page != NO_PAGE
    kvm.record(EV_MAP, MAP_PINNED if pinned else MAP_UNPINNED)
    kvm.oracle.vcpu_mapped(kvm, pfn, pinned)
    return 0


def no_struct_page(kvm: Kvm) -> i64:
    """What stands for "no struct page" in a map."""
    return NO_PAGE if kvm.sem.vcpu_map_null_page_for_memremap else KVM_UNMAPPED_PAGE


def kvm_vcpu_unmap(kvm: Kvm, host_map: KvmHostMap | None, dirty: bool) -> None:
    """kvm_vcpu_unmap(). `dirty`: has KVM written to it? Asked until the map knows. SRCU held."""
    sem = kvm.sem
    if not sem.vcpu_map_drop_null_map_check and host_map is None:
        return
    assert host_map is not None
    if host_map.hva == NO_HVA:
        return
    # kunmap(), or memunmap() for memory without a struct page.
    is_memremapped = host_map.page == no_struct_page(kvm)
    kvm.bug_on(is_memremapped == kvm.host.pages[host_map.hva].has_struct, "kvm_vcpu_unmap: mapped in another way")

    if sem.vcpu_map_writable_at_map_time:
        dirty = host_map.writable
    if dirty:
        slot = kvm.gfn_to_memslot(host_map.gfn)
        if slot is not None:
            kvm.mark_page_dirty_in_slot(slot, host_map.gfn)
    release_mapped_page(kvm, host_map, dirty)
    kvm.oracle.vcpu_unmapped(kvm, host_map.hva)
    host_map.hva = NO_HVA
    host_map.page = no_struct_page(kvm)
    host_map.pinned_page = NO_PAGE


def release_mapped_page(kvm: Kvm, host_map: KvmHostMap, dirty: bool) -> None:
    """kvm_release_pfn(), and what took its place in kvm_vcpu_unmap()."""
    sem = kvm.sem
    if not sem.vcpu_map_follow_pfn:
        if dirty:
            kvm_release_pfn_dirty(kvm, host_map.pfn)
        else:
            kvm_release_pfn_clean(kvm, host_map.pfn)
        return
    page = host_map.pinned_page
    if page == NO_PAGE:
        return
    if dirty:
        kvm_set_page_dirty(kvm, page)
    kvm_set_page_accessed(kvm, page)
    if sem.vcpu_map_foll_pin:
        kvm.kvm_unpin_page(page)
    else:
        kvm.kvm_put_page(page)


# --- what KVM does with a map ----------------------------------------------------------------------------------------


def use_mapped_page(kvm: Kvm, host_map: KvmHostMap, write: bool) -> None:
    """A load or store of KVM's. What the process has thrown away meanwhile belongs to nobody: a store is lost with
    it."""
    kvm.oracle.mapped_page_used(kvm, host_map.hva)
    page = kvm.host.pages[host_map.hva]
    if not write:
        kvm.record(EV_READ, page.data)
        return
    page.data = kvm.uid + 1
    if not page.discarded:
        kvm.host.reference[page.hva] = kvm.uid + 1


def vcpu_map_page(kvm: Kvm, gfn: i64, write: bool) -> Generator[int, None, None]:
    """KVM emulates an instruction of the guest's that has a page for an operand: one that it writes to, such as the
    VMCB of VMRUN, or reads, such as the MSR bitmap of a nested VM entry."""
    kvm.srcu.lock(kvm.actor)
    host_map = KvmHostMap()
    if write:
        r = yield from kvm_vcpu_map(kvm, gfn, host_map)
    else:
        r = yield from kvm_vcpu_map_readonly(kvm, gfn, host_map)
    if r == 0:
        yield MAP_USE
        use_mapped_page(kvm, host_map, write)
        yield MAP_UNMAP
        kvm_vcpu_unmap(kvm, host_map, write)
    kvm.srcu.unlock(kvm.actor)
