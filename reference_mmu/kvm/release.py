# SPDX-License-Identifier: GPL-2.0-only
"""Letting go of a page that a look-up has taken (include/linux/kvm_host.h, virt/kvm/kvm_main.c).

By page, as since the series: the page that was taken is marked and put, and NULL is nothing.  By pfn, as before it:
whether there is a struct page to be marked and put is guessed from the pfn.
"""

from __future__ import annotations

from mypy_extensions import i64

from .kvm import Kvm
from .pfn import NO_PAGE, is_error_noslot_pfn

# --- by page ---------------------------------------------------------------------------------------------------------


def kvm_release_page_unused(kvm: Kvm, page: i64) -> None:
    """kvm_release_page_unused(): the page served for nothing."""
    if page != NO_PAGE:
        kvm.kvm_put_page(page)


def kvm_release_page_clean(kvm: Kvm, page: i64) -> None:
    """kvm_release_page_clean(): the guest may have read it."""
    if page != NO_PAGE:
        kvm_set_page_accessed(kvm, page)
        kvm.kvm_put_page(page)


def kvm_release_page_dirty(kvm: Kvm, page: i64) -> None:
    """kvm_release_page_dirty(): the guest may write it."""
    if page != NO_PAGE:
        kvm_set_page_dirty(kvm, page)
        kvm_set_page_accessed(kvm, page)
        kvm.kvm_put_page(page)


def kvm_release_faultin_page(kvm: Kvm, page: i64, unused: bool, dirty: bool) -> None:
    """kvm_release_faultin_page(): what a fault has taken. Marks come under mmu_lock: then they precede whatever an
    invalidation, which needs mmu_lock, lets the primary MMU do to the page."""
    kvm.lockdep_assert(unused or kvm.mmu_lock.held[kvm.actor] != 0)
    if unused:
        kvm_release_page_unused(kvm, page)
    elif dirty:
        kvm_release_page_dirty(kvm, page)
    else:
        kvm_release_page_clean(kvm, page)


def kvm_set_page_accessed(kvm: Kvm, page: i64) -> None:
    """mark_page_accessed(), but not of a reserved page."""
    if kvm.host.pages[page].reserved:
        return
    kvm.host.folio(page).accessed += 1
    kvm.count_accessed_mark()
    kvm.oracle.page_marked(kvm, page, False)


def kvm_set_page_dirty(kvm: Kvm, page: i64) -> None:
    """SetPageDirty(), but not of a reserved page."""
    if kvm.host.pages[page].reserved:
        return
    kvm.host.folio(page).dirty = True
    kvm.count_dirty_mark()
    kvm.oracle.page_marked(kvm, page, True)


# --- by pfn ----------------------------------------------------------------------------------------------------------


def kvm_pfn_to_refcounted_page(kvm: Kvm, pfn: i64) -> i64:
    """kvm_pfn_to_refcounted_page(): the guess. There is a struct page, and it is either not reserved, or one of the
    reserved ones that are counted all the same: the zero page, and ZONE_DEVICE."""
    kvm.count_page_lookup()
    page = kvm.host.pages[pfn]
    if not page.has_struct:
        return NO_PAGE
    if not page.reserved or page.zero or kvm_is_zone_device_page(kvm, pfn):
        return pfn
    return NO_PAGE


def kvm_is_zone_device_page(kvm: Kvm, pfn: i64) -> bool:
    """kvm_is_zone_device_page(): what tells is kept by the device only while the page is in use."""
    if kvm.warn_on(kvm.host.folio(pfn).refcount == 0, "kvm_is_zone_device_page: page is free"):
        return False
    return kvm.host.pages[pfn].zone_device


def kvm_release_pfn_clean(kvm: Kvm, pfn: i64) -> None:
    """kvm_release_pfn_clean()"""
    if not is_error_noslot_pfn(pfn):
        kvm_release_page_clean(kvm, kvm_pfn_to_refcounted_page(kvm, pfn))


def kvm_release_pfn_dirty(kvm: Kvm, pfn: i64) -> None:
    """kvm_release_pfn_dirty()"""
    if not is_error_noslot_pfn(pfn):
        kvm_release_page_dirty(kvm, kvm_pfn_to_refcounted_page(kvm, pfn))


def kvm_set_pfn_accessed(kvm: Kvm, pfn: i64) -> None:
    """kvm_set_pfn_accessed(): the mark alone."""
    if kvm.warn_on(is_error_noslot_pfn(pfn), "kvm_set_pfn_accessed: no pfn"):
        return
    kvm.count_page_lookup()
    if kvm.host.pages[pfn].has_struct:
        kvm_set_page_accessed(kvm, pfn)


def kvm_set_pfn_dirty(kvm: Kvm, pfn: i64) -> None:
    """kvm_set_pfn_dirty(): the mark alone."""
    if kvm.warn_on(is_error_noslot_pfn(pfn), "kvm_set_pfn_dirty: no pfn"):
        return
    kvm.count_page_lookup()
    if kvm.host.pages[pfn].has_struct:
        kvm_set_page_dirty(kvm, pfn)
