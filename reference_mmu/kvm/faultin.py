# SPDX-License-Identifier: GPL-2.0-only
"""Looking a page up for a fault of the guest, or for KVM itself (virt/kvm/kvm_main.c, include/linux/kvm_host.h)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64, mypyc_attr

from ..mm.gup import FOLL_WRITE
from .follow_pfn import SLEEPS, KvmFollowPfn, hva_to_pfn, kvm_follow_pfn, kvm_follow_pfn_atomic
from .kvm import Kvm
from .memslots import KvmMemorySlot
from .pfn import KVM_PFN_ERR_FAULT, KVM_PFN_ERR_NEEDS_IO, NO_PAGE, is_error_noslot_pfn
from .release import kvm_pfn_to_refcounted_page


@mypyc_attr(acyclic=True, free_list_len=1)
class Faultin:
    """What the caller keeps of a look-up: its variables `writable` and `page`, pfn of the page that was taken.

    `writable` holds at first what the caller's variable does: a value that it has set, or whatever was on the stack.
    `needs_io`: the page has to be waited for, which FOLL_NOWAIT forbids.  `upgrade_fails`: see KvmFollowPfn.
    """

    def __init__(self, writable: bool, upgrade_fails: bool = False) -> None:
        self.writable = writable
        self.upgrade_fails = upgrade_fails
        self.page: i64 = NO_PAGE
        self.needs_io = False


def kvm_faultin_pfn(
    kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, foll: i64, out: Faultin
) -> Generator[int, None, i64]:
    """__kvm_faultin_pfn(): the pfn, or KVM_PFN_*. Both outputs are set whatever comes of it."""
    out.writable = False
    out.page = NO_PAGE
    return (yield from follow(kvm, slot, gfn, foll, out, True))


def kvm_faultin_pfn_without_writable(
    kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, foll: i64, out: Faultin
) -> Generator[int, None, i64]:
    """__kvm_faultin_pfn() with writable == NULL, which it refuses with a WARN."""
    yield from ()
    kvm.warn_on(True, "__kvm_faultin_pfn: writable is NULL")
    return KVM_PFN_ERR_FAULT


def gfn_to_pfn_memslot(
    kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, foll: i64, out: Faultin
) -> Generator[int, None, i64]:
    """__gfn_to_pfn_memslot() with a pointer to `writable`: the pfn alone is what the caller gets, and what it releases
    the page by. `out.writable` begins as the caller's variable, and may stay so."""
    return follow_without_page(kvm, slot, gfn, foll, out, True)


def best_look_up(kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, foll: i64, out: Faultin) -> Generator[int, None, i64]:
    """The best that a fault handler may call. Each handler is converted by a commit of its own, and none asks here."""
    if kvm.sem.add_kvm_faultin_pfn:
        return kvm_faultin_pfn(kvm, slot, gfn, foll, out)
    return gfn_to_pfn_memslot(kvm, slot, gfn, foll, out)


def gfn_to_pfn_memslot_atomic(kvm: Kvm, slot: KvmMemorySlot, gfn: i64) -> Generator[int, None, i64]:
    """gfn_to_pfn_memslot_atomic(): a writable page that GUP gets without sleeping, or KVM_PFN_ERR_*."""
    kfp = KvmFollowPfn(slot, gfn, FOLL_WRITE)
    kfp.offers = False
    kfp.atomic = True
    return (yield from kvm_follow_pfn(kvm, kfp))


def gfn_to_pfn_prot(
    kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, write: bool, out: Faultin
) -> Generator[int, None, i64]:
    """gfn_to_pfn_prot()"""
    return follow_without_page(kvm, slot, gfn, FOLL_WRITE if write else 0, out, True)


def gfn_to_pfn(kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, write: bool) -> Generator[int, None, i64]:
    """gfn_to_pfn(), and gfn_to_pfn_prot() with writable == NULL."""
    foll = FOLL_WRITE if write else 0
    return follow_without_page(kvm, slot, gfn, foll, Faultin(False), False)


def gfn_to_page(kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, write: bool) -> Generator[int, None, i64]:
    """__gfn_to_page(): the page, with a reference, or NO_PAGE. gfn_to_page() is the one with `write`, and the only one
    before gfn-to-page-read-only. Since ce6bf7034689 it is exactly the page that was taken; before, one that is guessed
    from the pfn."""
    out = Faultin(False)
    if kvm.sem.gfn_to_page_exact:
        foll = FOLL_WRITE if write or not kvm.sem.gfn_to_page_read_only else 0
        yield from follow(kvm, slot, gfn, foll, out, False)
        return out.page
    pfn = yield from gfn_to_pfn(kvm, slot, gfn, True)
    return NO_PAGE if is_error_noslot_pfn(pfn) else kvm_pfn_to_refcounted_page(kvm, pfn)


def follow_without_page(
    kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, foll: i64, out: Faultin, offers: bool
) -> Generator[int, None, i64]:
    """follow() for gfn_to_pfn() and its variants, whose refcounted_page is NULL. That hva_to_pfn() refuses these stands
    here, so that nobody else has to ask; it never gets to see what has no usable memslot."""
    if kvm.sem.drop_gfn_to_pfn:
        kvm.bug_on(True, "gfn_to_pfn: there is no such function")
    if kvm.sem.follow_pfn_refcounted_page_required and may_be_followed(slot, foll):
        kvm.warn_on(True, "hva_to_pfn: refcounted_page is NULL")
        return KVM_PFN_ERR_FAULT
    return (yield from follow(kvm, slot, gfn, foll, out, offers))


def may_be_followed(slot: KvmMemorySlot | None, foll: i64) -> bool:
    """Does kvm_follow_pfn() get as far as hva_to_pfn()?"""
    return slot is not None and not slot.invalid and not (slot.readonly and (foll & FOLL_WRITE) != 0)


def follow(
    kvm: Kvm, slot: KvmMemorySlot | None, gfn: i64, foll: i64, out: Faultin, offers: bool
) -> Generator[int, None, i64]:
    """What all of them do: fill in a struct kvm_follow_pfn, and read from it."""
    kfp = KvmFollowPfn(slot, gfn, foll)
    kfp.offers = offers
    kfp.map_writable = out.writable
    kfp.upgrade_fails = out.upgrade_fails
    pfn = kvm_follow_pfn_atomic(kvm, kfp)
    if pfn == SLEEPS:
        pfn = yield from hva_to_pfn(kvm, kfp)
    out.writable = kfp.map_writable
    out.page = kfp.refcounted_page
    out.needs_io = kfp.async_io or pfn == KVM_PFN_ERR_NEEDS_IO
    return pfn
