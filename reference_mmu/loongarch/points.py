# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of LoongArch, in the order in which flows reach them (see points.py above this room)."""

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
FAST_LOG: Final = 34
FAULT_SEQ: Final = 35
FAULT_GUP: Final = 36
FAULT_LOCK: Final = 40
FAULT_STALE: Final = 41
FAULT_LOG: Final = 46
FAULT_MARK: Final = 47
FAULT_PUT: Final = 48

POINTS: Final = PointTable(
    (
        *HARDWARE_WALK,
        Point(FAULT_ENTER, "fault.enter", "kvm_handle_mm_fault", "the guest has faulted, SRCU held"),
        Point(FAST_LOCK, "fast.lock", "kvm_map_page_fast", "before anything is asked for", wants=WANT_WRITE),
        Point(
            FAST_MARK,
            "fast.mark",
            "kvm_map_page_fast",
            "the entry has changed and mmu_lock is released, the page is marked and put next",
            patch="loongarch-accessed-slow-path-only",
            with_patch=False,
        ),
        Point(
            FAST_LOG,
            "fast.log",
            "kvm_map_page_fast",
            "the entry is dirty and mmu_lock released, the gfn is not yet in the bitmap",
            patch="loongarch-dirty-slow-path-only",
        ),
        Point(FAULT_SEQ, "fault.seq", "kvm_map_page", "the snapshot of mmu_invalidate_seq comes next"),
        Point(FAULT_GUP, "fault.gup", "kvm_map_page", "snapshot taken, the primary MMU is asked next"),
        *LOOK_UP,
        *INVALIDATION_END,
        Point(FAULT_LOCK, "fault.lock", "kvm_map_page", "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
        Point(
            FAULT_STALE,
            "fault.stale",
            "kvm_map_page",
            "the page was possibly gone, mmu_lock is released, it is marked accessed and put next",
            patch="loongarch-faultin-pfn",
            with_patch=False,
        ),
        Point(FAULT_LOG, "fault.log", "kvm_map_page", "mmu_lock is released, the gfn is not yet in the bitmap"),
        Point(
            FAULT_MARK,
            "fault.mark",
            "kvm_map_page",
            "the gfn is logged, the page is marked dirty next",
            patch="loongarch-dirty-slow-path-only",
            with_patch=False,
        ),
        Point(
            FAULT_PUT,
            "fault.put",
            "kvm_map_page",
            "mmu_lock is released, the page is marked accessed and put next",
            patch="loongarch-accessed-before-unlock",
            with_patch=False,
        ),
        *FAULT_ENDS,
        Point(FAULT_RETRY, "fault.retry", "kvm_map_page", "the page was possibly gone, it is looked up again at once"),
        *AGING_AND_SLOTS,
        *SLOT_ZAP_FLUSHES,
        *LOGGING_STARTS,
        *HARVEST,
    )
)
