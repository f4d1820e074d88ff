# SPDX-License-Identifier: GPL-2.0-only
"""Pages for a run of gfns, as far as they are to be had without sleeping (virt/kvm/kvm_main.c)."""

from __future__ import annotations

from mypy_extensions import i64

from ..mm.gup import FOLL_WRITE, gup_fast
from .kvm import Kvm
from .memslots import KvmMemorySlot


def kvm_prefetch_pages(kvm: Kvm, slot: KvmMemorySlot, gfn: i64, nr_pages: i64) -> list[int]:
    """Pfns of writable pages from `gfn` on, each with a reference, up to the first that GUP-fast does not get. None
    at all if the run leaves the slot or the slot is read-only."""
    pages: list[int] = []
    if slot.readonly or gfn + nr_pages > slot.end_gfn():
        return pages
    hva = slot.hva + gfn - slot.base_gfn
    while len(pages) < nr_pages and gup_fast(kvm, hva, FOLL_WRITE):
        pages.append(int(kvm.host.pte[hva]))
        hva += 1
    return pages


def gfn_to_page_many_atomic(kvm: Kvm, slot: KvmMemorySlot, gfn: i64, nr_pages: i64) -> list[int]:
    """The name of kvm_prefetch_pages() until rename-kvm-prefetch-pages."""
    return kvm_prefetch_pages(kvm, slot, gfn, nr_pages)


def prefetch_pages(kvm: Kvm, slot: KvmMemorySlot, gfn: i64, nr_pages: i64) -> list[int]:
    """Whichever of the two there is."""
    if kvm.sem.rename_kvm_prefetch_pages:
        return kvm_prefetch_pages(kvm, slot, gfn, nr_pages)
    return gfn_to_page_many_atomic(kvm, slot, gfn, nr_pages)
