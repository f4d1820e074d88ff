# SPDX-License-Identifier: GPL-2.0-only
"""struct page and struct folio (include/linux/mm_types.h)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

GUP_PIN_COUNTING_BIAS: Final[i64] = 1024
"""What a pin adds to the reference count of a folio of one page (include/linux/mm.h)."""


@mypyc_attr(acyclic=True)
class Page:
    """A page, known by its pfn. What belongs to the folio (counts, PG_dirty, accessed) stands in its first page, which
    `head` names: ask Host.folio() for it.

    `refcount`  one for each host PTE or place in the swap cache, whatever else the kernel owns it for, and one for
                whoever else holds it (GUP_PIN_COUNTING_BIAS for a pin of a small folio). Freed at 0.
    `kvm_refs`, `kvm_pins`  how many of these KVM holds: references by FOLL_GET, and pins by FOLL_PIN.
    `others`    how many belong to somebody else, for good: another process, KSM's stable tree, a driver that has mapped
                the page by pfn, or the kernel itself.
    `accessed`  how often KVM called folio_mark_accessed(), GUP's own calls not counted; compare it loosely.
    `cleaned`   how often the page was written out, and its dirty mark taken.
    `locked_by` the actor that has the folio locked (folio_lock()), -1: nobody.
    `orphans`   how many of the references belong to mappings that went away while the folio was locked: whoever has it
                locked drops them with the lock.
    """

    def __init__(self, hva: i64, head: i64) -> None:
        self.hva = hva
        self.head = head
        self.data: i64 = 0
        self.refcount: i64 = 1
        self.pincount: i64 = 0  # of a large folio
        self.kvm_refs: i64 = 0
        self.kvm_pins: i64 = 0
        self.others: i64 = 0
        self.dirty = False  # PG_dirty
        self.accessed: i64 = 0
        self.freed = False
        self.discarded = False  # the process has thrown it away
        self.cleaned: i64 = 0
        self.locked_by: i64 = -1
        self.orphans: i64 = 0
        self.large = False  # the first page of a folio of several
        self.reserved = False  # PG_reserved: the zero page, ZONE_DEVICE (in this cycle), some memory of drivers
        self.zone_device = False
        self.zero = False  # is_zero_pfn()
        self.has_struct = True  # pfn_valid(): memory of a device need not have a struct page at all
