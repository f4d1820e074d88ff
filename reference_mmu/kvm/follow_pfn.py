# SPDX-License-Identifier: GPL-2.0-only
"""From a gfn to the host's page: hva_to_pfn() and what is on top of it (virt/kvm/kvm_main.c, kvm_mm.h).

A look-up asks GUP first without sleeping, always for a writable page; then the slow way, which faults the page in.
What GUP does not get, because the VMA is VM_IO or VM_PFNMAP, is read from the host's page table.

Before the series the caller is given a pfn alone, and whoever releases it guesses from the pfn whether there is a
struct page to be put (kvm/release.py). To keep that guess right, a remapped pfn that looks refcounted is referenced,
too. After it the look-up says which page it has taken, or none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from ..mm.errno import EAGAIN, EFAULT, EHWPOISON, EINTR
from ..mm.gup import (
    FOLL_NOWAIT,
    FOLL_PIN,
    FOLL_TRIED,
    FOLL_WRITE,
    fixup_user_fault,
    get_user_pages,
    get_user_pages_unlocked,
    gup_fast,
    with_a_point_of_its_own,
)
from ..mm.host import HOST_W
from ..points import GUP_HWPOISON, MMAP_READ
from .kvm import Kvm
from .memslots import KvmMemorySlot
from .pfn import (
    KVM_PFN_ERR_FAULT,
    KVM_PFN_ERR_HWPOISON,
    KVM_PFN_ERR_NEEDS_IO,
    KVM_PFN_ERR_RO_FAULT,
    KVM_PFN_ERR_SIGPENDING,
    KVM_PFN_NOSLOT,
    NO_PAGE,
)
from .release import kvm_pfn_to_refcounted_page

SLEEPS: Final[i64] = -2
"""No pfn yet: the look-up has to sleep, or may have to."""


@mypyc_attr(acyclic=True, free_list_len=1)
class KvmFollowPfn:
    """struct kvm_follow_pfn: what is looked up, and what came of it.

    `slot`       the memslot of gfn, None: there is none.
    `flags`      FOLL_WRITE, FOLL_NOWAIT, FOLL_INTERRUPTIBLE.
    `pin`        the page is to be pinned, since KVM uses it without the mmu_notifier. Not before vcpu-map-foll-pin,
                 and never with `offers`.
    `offers`     the caller can use a writable page although it only reads: map_writable is not NULL.
    `upgrade_fails`  the fast attempt at a writable page for a read fails, as it may at any time.
    `map_writable`   may the page be mapped writable? Before the look-up: what the caller's variable holds.
    `refcounted_page`  pfn of the page that was taken, NO_PAGE: none.
    `async_io`   *async, before gup-no-wait-error-code: the page is to be waited for, told beside KVM_PFN_ERR_FAULT.
    `atomic`     before gup-drop-atomic-param: the fast attempt is the only one.
    """

    def __init__(self, slot: KvmMemorySlot | None, gfn: i64, flags: i64) -> None:
        self.slot = slot
        self.gfn = gfn
        self.hva: i64 = 0
        self.flags = flags
        self.pin = False
        self.offers = True
        self.upgrade_fails = False
        self.map_writable = False
        self.refcounted_page: i64 = NO_PAGE
        self.async_io = False
        self.atomic = False

    def write(self) -> bool:
        return (self.flags & FOLL_WRITE) != 0

    def foll(self) -> i64:
        """The flags as GUP takes them."""
        return self.flags | FOLL_PIN if self.pin else self.flags


def kvm_follow_pfn(kvm: Kvm, kfp: KvmFollowPfn) -> Generator[int, None, i64]:
    """The pfn, or KVM_PFN_*. __gfn_to_pfn_memslot() before introduce-kvm-follow-pfn."""
    pfn = kvm_follow_pfn_atomic(kvm, kfp)
    return pfn if pfn != SLEEPS else (yield from hva_to_pfn(kvm, kfp))


def kvm_follow_pfn_atomic(kvm: Kvm, kfp: KvmFollowPfn) -> i64:
    """The part of it that does not sleep, with which most look-ups end: the pfn, KVM_PFN_*, or SLEEPS, for hva_to_pfn()
    to go on."""
    slot = kfp.slot
    if slot is not None:
        kvm.use_memslot(slot)
    kfp.refcounted_page = NO_PAGE
    if slot is None or slot.invalid or (slot.readonly and kfp.write()):
        if kfp.offers and not kvm.sem.introduce_kvm_follow_pfn:
            kfp.map_writable = False
        return KVM_PFN_NOSLOT if slot is None or slot.invalid else KVM_PFN_ERR_RO_FAULT
    kfp.hva = slot.hva + kfp.gfn - slot.base_gfn
    if slot.readonly and kfp.offers:
        kfp.map_writable = False
        kfp.offers = False
    if not kfp.atomic:
        kvm.might_sleep()
    page = hva_to_pfn_fast(kvm, kfp)
    return SLEEPS if page == NO_PAGE else kvm_resolve_pfn(kvm, kfp, page, True)


def hva_to_pfn(kvm: Kvm, kfp: KvmFollowPfn) -> Generator[int, None, i64]:
    """hva_to_pfn() from where it may sleep: the pfn, with the page taken if there is one to be taken, or
    KVM_PFN_ERR_*."""
    if kfp.atomic and not kvm.sem.gup_drop_atomic_param:
        return KVM_PFN_ERR_FAULT
    if kfp.pin and kfp.write():  # pin_user_pages_fast() goes on to the slow way by itself, whatever the caller said
        r = yield from get_user_pages_unlocked(kvm, kfp.hva, FOLL_WRITE | FOLL_PIN)
        if r == 1:
            return kvm_resolve_pfn(kvm, kfp, kvm.host.pte[kfp.hva], True)
        kfp.flags |= FOLL_TRIED  # one step with it: without the commit there is no point for another

    r = yield from hva_to_pfn_slow(kvm, kfp)
    if r >= 0:
        return r
    if r == -EINTR:
        return KVM_PFN_ERR_SIGPENDING
    if r == -EAGAIN and kvm.sem.gup_eagain_is_sigpending:
        return KVM_PFN_ERR_SIGPENDING
    if r == -EHWPOISON:
        return KVM_PFN_ERR_HWPOISON
    if not kvm.sem.gup_drop_extra_hwpoison_gup and (kfp.flags & FOLL_NOWAIT) == 0:
        poisoned = yield from check_user_page_hwpoison(kvm, kfp.hva)
        if poisoned:
            return KVM_PFN_ERR_HWPOISON
    pfn = yield from hva_to_pfn_by_vma(kvm, kfp)
    if r == -EAGAIN and pfn == KVM_PFN_ERR_FAULT and not kfp.async_io:
        kvm.oracle.look_up_refused(kvm, kfp.hva, kfp.write())
    return pfn


def hva_to_pfn_by_vma(kvm: Kvm, kfp: KvmFollowPfn) -> Generator[int, None, i64]:
    """What hva_to_pfn() does with mmap_lock held, for an address that GUP did not get."""
    if not kvm.mmap_lock.can_read():
        yield MMAP_READ
    kvm.mmap_lock.read_lock(kvm.actor)
    r = yield from hva_to_pfn_locked(kvm, kfp)
    kvm.mmap_lock.read_unlock(kvm.actor)
    return r


def hva_to_pfn_locked(kvm: Kvm, kfp: KvmFollowPfn) -> Generator[int, None, i64]:
    """What the VMA says of an address. mmap_lock held for read."""
    host = kvm.host
    while True:
        if host.vma_flags(kfp.hva) == 0:
            return KVM_PFN_ERR_FAULT
        if not host.vma_is_pfnmap(kfp.hva):
            # Every failure looks like a wait that was refused; the second try finds out.
            waits = (kfp.flags & FOLL_NOWAIT) != 0 and host.vma_is_valid(kfp.hva, kfp.write())
            if waits and not kvm.sem.gup_no_wait_error_code:
                kfp.async_io = True
                return KVM_PFN_ERR_FAULT
            return KVM_PFN_ERR_NEEDS_IO if waits else KVM_PFN_ERR_FAULT
        r = yield from hva_to_pfn_remapped(kvm, kfp)
        if r != -EAGAIN:  # mmap_lock was dropped: the VMA may be another one
            return r


def hva_to_pfn_fast(kvm: Kvm, kfp: KvmFollowPfn) -> i64:
    """hva_to_pfn_fast(): asks for a writable page without sleeping, where one would be of use. The page, NO_PAGE: none
    is taken."""
    if not kfp.write() and (not kfp.offers or kfp.upgrade_fails):
        return NO_PAGE
    if not gup_fast(kvm, kfp.hva, kfp.foll() | FOLL_WRITE):
        return NO_PAGE
    if kvm.sem.gup_fast_single_page_pointer:
        return kvm.host.pte[kfp.hva]
    pages: vec[i64] = vec[i64]([kvm.host.pte[kfp.hva]])  # struct page *page[1]
    return pages[0]


def hva_to_pfn_slow(kvm: Kvm, kfp: KvmFollowPfn) -> Generator[int, None, i64]:
    """hva_to_pfn_slow(): the pfn, or the errno of GUP; -EFAULT for a wait that FOLL_NOWAIT refused."""
    if not kvm.sem.introduce_kvm_follow_pfn and kfp.offers:
        kfp.map_writable = kfp.write()
    r = yield from get_user_pages_unlocked(kvm, kfp.hva, kfp.foll())
    if r != 1:
        return r if r < 0 else -EFAULT
    pfn = kvm.host.pte[kfp.hva]
    if kfp.pin:
        kvm.warn_on(kfp.offers, "hva_to_pfn: a pin is not for mapping")
        return kvm_resolve_pfn(kvm, kfp, pfn, kfp.write())
    if kfp.write():
        return kvm_resolve_pfn(kvm, kfp, pfn, True)
    # Perhaps the page is writable now: then the second reference is kept, and the first one put.
    if kfp.offers and not kfp.upgrade_fails and gup_fast(kvm, kfp.hva, FOLL_WRITE):
        kvm.kvm_put_page(pfn)
        return kvm_resolve_pfn(kvm, kfp, kvm.host.pte[kfp.hva], True)
    return kvm_resolve_pfn(kvm, kfp, pfn, False)


def kvm_resolve_pfn(kvm: Kvm, kfp: KvmFollowPfn, pfn: i64, writable: bool) -> i64:
    """kvm_resolve_pfn() of a page that GUP has taken. Between the commit that introduces kvm_follow_pfn() and the one
    that has this function say it always, a page that may not be written leaves the caller's variable as it was."""
    kfp.refcounted_page = pfn
    if kfp.offers and (writable or kvm.sem.follow_pfn_refcounted_page_output):
        kfp.map_writable = writable
    return pfn


def hva_to_pfn_remapped(kvm: Kvm, kfp: KvmFollowPfn) -> Generator[int, None, i64]:
    """hva_to_pfn_remapped(): the pfn in the host's page table, of memory that its owner has mapped by pfn. KVM_PFN_*,
    or -EAGAIN: look the VMA up again. mmap_lock held for read."""
    host = kvm.host
    if kfp.pin and kvm.sem.disallow_unpinned_map_by_default and not kvm.allow_unsafe_mappings:
        return KVM_PFN_ERR_FAULT  # -EINVAL of the caller
    kvm.mmap_assert_locked()
    if host.pte[kfp.hva] < 0:
        r = yield from fixup_user_fault(kvm, kfp.hva, kfp.write())
        if r == -EAGAIN:
            return r
        if r < 0 or host.pte[kfp.hva] < 0:
            return KVM_PFN_ERR_FAULT
    if kfp.write() and (host.flags[kfp.hva] & HOST_W) == 0:
        return KVM_PFN_ERR_RO_FAULT
    if kfp.offers:
        kfp.map_writable = (host.flags[kfp.hva] & HOST_W) != 0
    pfn = host.pte[kfp.hva]
    return pfn if take_remapped_page(kvm, kfp, pfn) else KVM_PFN_ERR_FAULT


def take_remapped_page(kvm: Kvm, kfp: KvmFollowPfn, pfn: i64) -> bool:
    """kvm_try_get_pfn(), so that releasing by guess is balanced; who pins does not guess. False: it looks refcounted,
    and its count is 0."""
    if kvm.sem.mixedmap_no_refcount or kfp.pin:
        return True
    page = kvm_pfn_to_refcounted_page(kvm, pfn)
    if page == NO_PAGE:
        return True
    if kvm.host.folio(page).refcount == 0:
        kvm.oracle.look_up_refused(kvm, kfp.hva, kfp.write())
        return False  # get_page_unless_zero()
    kvm.host.get(page)
    kvm.page_taken(page, False)
    kfp.refcounted_page = page
    return True


def check_user_page_hwpoison(kvm: Kvm, hva: i64) -> Generator[int, None, bool]:
    """check_user_page_hwpoison(): one more GUP, for writing, that faults the page in and takes nothing. Its fault has a
    point of its own, so that a look-up without it stays in step."""
    r = yield from with_a_point_of_its_own(get_user_pages(kvm, hva, FOLL_WRITE), GUP_HWPOISON)
    return r == -EHWPOISON
