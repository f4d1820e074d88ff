# SPDX-License-Identifier: GPL-2.0-only
"""MTE: userspace reads and writes the tags of guest memory, as a migration does (arch/arm64/kvm/guest.c).

What the tags are is left out: they are saved and lost with their page, so what the page holds stands for them. Left out
is what MTE changes of memslots and faults, too, which refuse a VMA that allows no tags: here such memory was mapped
once the memslot was there. One page is copied; of a range the ioctl would return how many were copied before the first
that cannot be.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import gfn_to_page, gfn_to_pfn
from ..kvm.pfn import NO_PAGE, is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_page_clean,
    kvm_release_page_dirty,
    kvm_release_page_unused,
    kvm_release_pfn_clean,
    kvm_release_pfn_dirty,
)
from ..kvm.vcpu_map import KvmHostMap, use_mapped_page
from ..mm.errno import EBUSY, EFAULT
from ..observed import EV_ERRNO
from ..stage2.machine import Stage2Machine
from .points import TAGS_COPY, TAGS_LOCK


def kvm_vm_ioctl_mte_copy_tags(m: Stage2Machine, gfn: i64, from_guest: bool) -> Generator[int, None, None]:
    """KVM_ARM_MTE_COPY_TAGS of one page. Nobody would log what it writes, so it writes nothing while a memslot logs."""
    yield TAGS_LOCK
    m.slots_lock = True
    if not from_guest and any(slot.log_dirty_pages for slot in m.kvm_memslots()):
        r = -EBUSY
    elif m.sem.arm64_mte_copy_tags_via_gfn_to_page:
        r = yield from copy_tags_of_page(m, gfn, not from_guest)
    else:
        r = yield from copy_tags_of_pfn(m, gfn, not from_guest)
    if r != 0:
        m.record(EV_ERRNO, -r)
    m.slots_lock = False


def copy_tags_of_page(m: Stage2Machine, gfn: i64, write: bool) -> Generator[int, None, i64]:
    """The body of the loop: 0 or -EFAULT."""
    page = yield from gfn_to_page(m, m.gfn_to_memslot(gfn), gfn, write)
    if page == NO_PAGE:
        return -EFAULT
    if not is_online(m, page):
        kvm_release_page_unused(m, page)
        return -EFAULT
    yield from copy_tags(m, page, write)
    if write:
        kvm_release_page_dirty(m, page)
    else:
        kvm_release_page_clean(m, page)
    m.oracle.vcpu_unmapped(m, page)
    return 0


def copy_tags_of_pfn(m: Stage2Machine, gfn: i64, write: bool) -> Generator[int, None, i64]:
    """The same as long as a pfn was all that it had."""
    pfn = yield from gfn_to_pfn(m, m.gfn_to_memslot(gfn), gfn, write)
    if is_error_noslot_pfn(pfn):
        return -EFAULT
    if not is_online(m, pfn):
        kvm_release_pfn_clean(m, pfn)
        return -EFAULT
    yield from copy_tags(m, pfn, write)
    if write:
        kvm_release_pfn_dirty(m, pfn)
    else:
        kvm_release_pfn_clean(m, pfn)
    m.oracle.vcpu_unmapped(m, pfn)
    return 0


def copy_tags(m: Stage2Machine, pfn: i64, write: bool) -> Generator[int, None, None]:
    """mte_copy_tags_to_user() or mte_copy_tags_from_user(), by the kernel's own address of the page, until it is
    released."""
    host_map = KvmHostMap()
    host_map.hva = pfn
    m.oracle.vcpu_mapped(m, pfn, False)
    yield TAGS_COPY
    use_mapped_page(m, host_map, write)


def is_online(m: Stage2Machine, pfn: i64) -> bool:
    """pfn_to_online_page(): a struct page that is not of ZONE_DEVICE."""
    page = m.host.pages[pfn]
    return page.has_struct and not page.zone_device
