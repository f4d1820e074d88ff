# SPDX-License-Identifier: GPL-2.0-only
"""struct page (include/linux/mm_types.h)."""

from __future__ import annotations

from mypy_extensions import i64


class Page:
    """struct page. `refcount` counts one for the host PTE or the swap cache, plus whoever holds it."""

    def __init__(self, hva: i64) -> None:
        self.hva = hva
        self.data: i64 = 0
        self.refcount: i64 = 1
        self.kvm_refs: i64 = 0  # how many of these KVM's faults hold
        self.dirty = False  # PG_dirty
        self.accessed: i64 = 0
        self.freed = False
        self.cleaned: i64 = 0  # times the page was written out
