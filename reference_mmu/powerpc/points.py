# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of powerpc, in the order in which the flows of each MMU reach them."""

from __future__ import annotations

from typing import Final

from ..points import (
    AGING_ENDS_FLUSHED,
    AGING_START,
    COPYING,
    FAULT_ENTER,
    FAULT_RETRY,
    GUP,
    HARVEST_END,
    HARVEST_START,
    INVALIDATION_END,
    INVALIDATION_START,
    MEMSLOTS,
    MM,
    WANT_WRITE,
    Point,
    PointTable,
)
from ..stage2.points import FAULT_ENDS, HARDWARE_WALK, LOGGING_STARTS, SLOT_ZAP, SLOT_ZAP_FLUSHES, WRITE_PROTECTION

# --- e500 ------------------------------------------------------------------------------------------------------------
E500_SEQ: Final = 32
E500_GUP: Final = 33
E500_LOCK: Final = 34
E500_PUT: Final = 35
E500_WRITE: Final = 36

_E500: Final = "kvmppc_e500_shadow_map"
_E500_BEGINS: Final = (
    Point(E500_SEQ, "e500.seq", _E500, "the guest has the entry, the snapshot of mmu_invalidate_seq comes next"),
    Point(E500_GUP, "e500.gup", _E500, "snapshot taken, the page is looked up next"),
)
_E500_MAPS: Final = (
    Point(E500_LOCK, "e500.lock", _E500, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
    Point(
        E500_PUT,
        "e500.put",
        _E500,
        "mmu_lock is released, the page is marked accessed and put next",
        patch="e500-accessed-before-unlock",
        with_patch=False,
    ),
    Point(E500_WRITE, "e500.write", "write_stlbe", "mmu_lock is released, the entry is written to the TLB next"),
)

POINTS: Final = PointTable(
    (
        *HARDWARE_WALK,
        Point(FAULT_ENTER, "fault.enter", "kvmppc_handle_exit", "the guest has faulted, SRCU held"),
        *_E500_BEGINS,
        *GUP,
        *MM,
        *INVALIDATION_START,
        *INVALIDATION_END,
        *_E500_MAPS,
        *FAULT_ENDS,
        Point(FAULT_RETRY, "fault.retry", "kvmppc_handle_exit", "the page was stale, the guest repeats the access"),
        *AGING_START,
        *AGING_ENDS_FLUSHED,
        *MEMSLOTS,
        *SLOT_ZAP,
        *SLOT_ZAP_FLUSHES,
        *LOGGING_STARTS,
        *HARVEST_START,
        *WRITE_PROTECTION,
        *HARVEST_END,
        *COPYING,
    )
)
