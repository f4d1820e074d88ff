# SPDX-License-Identifier: GPL-2.0-only
"""Write protection of a range of gfns, for the dirty log."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..bits import highest_bit, lowest_bit
from ..kvm.flush import kvm_flush_remote_tlbs
from ..kvm.memslots import KvmMemorySlot
from .machine import Stage2Machine
from .points import WP_FLUSH, WP_LOCK, WP_SET
from .table import leaves


def kvm_mmu_wp_memory_region(m: Stage2Machine, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """kvm_mmu_wp_memory_region(): a whole slot, and the flush behind it."""
    yield WP_LOCK
    m.write_lock()
    yield from m.write_protect(slot.base_gfn, slot.end_gfn())
    m.write_unlock()
    yield from kvm_flush_remote_tlbs(m, WP_FLUSH)


def masked_range(slot: KvmMemorySlot, gfn_offset: i64, mask: i64) -> tuple[i64, i64]:
    """From the first to the last gfn of a mask, and whatever lies in between."""
    base = slot.base_gfn + gfn_offset
    return base + lowest_bit(mask), base + highest_bit(mask) + 1


def write_protect(m: Stage2Machine, start: i64, end: i64) -> Generator[int, None, bool]:
    """The plain walk of it. mmu_lock held for write.

    The leaf is read, changed and stored: what hardware sets in between is lost, as it may be (a young bit).
    """
    changed = False
    for sp, index in leaves(m, start, end):
        pte = sp.spt[index]
        protected = m.write_protected(pte)
        if protected != pte:
            yield WP_SET
            m.store(sp, index, protected)
            changed = True
    return changed
