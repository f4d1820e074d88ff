# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of MIPS, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from ..points import FAULT_ENTER, FAULT_RETRY, INVALIDATION_END, WANT_WRITE, Point, PointTable
from ..stage2.points import (
    AGING_AND_SLOTS,
    FAULT_ENDS,
    HARDWARE_WALK,
    HARVEST,
    LOGGING_STARTS,
    LOOK_UP,
    SLOT_ZAP_FLUSHES,
)

# --- page fault --------------------------------------------------------------------------------------------------
FAST_LOCK: Final = 32
FAST_MARK: Final = 33
FAULT_SEQ: Final = 35
FAULT_GUP: Final = 36
FAULT_LOCK: Final = 40
FAULT_STALE: Final = 41
FAULT_PUT: Final = 47
FAULT_MARK: Final = 48

_SLOW: Final = "kvm_mips_map_page"
_RELEASED_EARLY: Final = "mips-accessed-before-unlock"

POINTS: Final = PointTable(
    (
        *HARDWARE_WALK,
        Point(FAULT_ENTER, "fault.enter", "kvm_mips_handle_vz_root_tlb_fault", "the guest has faulted, SRCU held"),
        Point(FAST_LOCK, "fast.lock", "_kvm_mips_map_page_fast", "before anything is asked for", wants=WANT_WRITE),
        Point(
            FAST_MARK,
            "fast.mark",
            "_kvm_mips_map_page_fast",
            "the entry was old, mmu_lock is released, the page is marked accessed next",
            patch="mips-accessed-slow-path-only",
            with_patch=False,
        ),
        Point(FAULT_SEQ, "fault.seq", _SLOW, "the snapshot of mmu_invalidate_seq comes next"),
        Point(FAULT_GUP, "fault.gup", _SLOW, "snapshot taken, the primary MMU is asked next"),
        *LOOK_UP,
        *INVALIDATION_END,
        Point(FAULT_LOCK, "fault.lock", _SLOW, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
        Point(
            FAULT_STALE,
            "fault.stale",
            _SLOW,
            "the page was possibly gone, mmu_lock is released, it is marked accessed and put next",
            patch="mips-faultin-pfn",
            with_patch=False,
        ),
        Point(
            FAULT_PUT,
            "fault.put",
            _SLOW,
            "mmu_lock is released, the page is marked accessed and put next",
            patch=_RELEASED_EARLY,
            with_patch=False,
        ),
        Point(
            FAULT_MARK,
            "fault.mark",
            _SLOW,
            "the page was put, it is marked accessed once more next",
            patch=_RELEASED_EARLY,
            with_patch=False,
        ),
        *FAULT_ENDS,
        Point(FAULT_RETRY, "fault.retry", _SLOW, "the page was possibly gone, it is looked up again at once"),
        *AGING_AND_SLOTS,
        *SLOT_ZAP_FLUSHES,
        *LOGGING_STARTS,
        *HARVEST,
    )
)
