# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of RISC-V, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from ..points import (
    COPYING,
    FAULT_ENTER,
    FAULT_RETRY,
    HARVEST_END,
    HARVEST_START,
    INVALIDATION_END,
    WANT_WRITE,
    Point,
    PointTable,
)
from ..stage2.points import AGING_AND_SLOTS, FAULT_ENDS, HARDWARE_WALK, LOGGING_STARTS, LOOK_UP

# --- page fault --------------------------------------------------------------------------------------------------
FAULT_SEQ: Final = 35
FAULT_GUP: Final = 36
FAULT_LOCK: Final = 40
MAP_FENCE: Final = 44
FAULT_MARK: Final = 46
FAULT_PUT: Final = 48

# --- ranges --------------------------------------------------------------------------------------------------------
UNMAP_FENCE: Final = 37
UNMAP_RELOCK: Final = 38
WP_FENCE: Final = 39

_MARKS_EARLY: Final = "riscv-accessed-before-unlock"

UNMAPPING: Final = (
    Point(UNMAP_FENCE, "unmap.fence", "gstage_op_pte", "a leaf was cleared, vCPUs leave the guest to drop it"),
    Point(
        UNMAP_RELOCK,
        "unmap.relock",
        "gstage_unmap_range",
        "mmu_lock dropped within a range, it is taken again next",
        wants=WANT_WRITE,
        is_break=True,
    ),
)

POINTS: Final = PointTable(
    (
        *HARDWARE_WALK,
        Point(FAULT_ENTER, "fault.enter", "gstage_page_fault", "the guest has faulted, SRCU held"),
        Point(
            FAULT_SEQ,
            "fault.seq",
            "kvm_riscv_gstage_map",
            "the cache is topped up, the snapshot of mmu_invalidate_seq comes next",
        ),
        Point(FAULT_GUP, "fault.gup", "kvm_riscv_gstage_map", "snapshot taken, the primary MMU is asked next"),
        *LOOK_UP,
        *UNMAPPING,
        *INVALIDATION_END,
        Point(
            FAULT_LOCK,
            "fault.lock",
            "kvm_riscv_gstage_map",
            "the page is in hand, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(MAP_FENCE, "map.fence", "gstage_set_pte", "the leaf is stored, vCPUs leave the guest to drop the old"),
        Point(
            FAULT_MARK,
            "fault.mark",
            "kvm_riscv_gstage_map",
            "mmu_lock is released, the page is marked accessed next",
            patch=_MARKS_EARLY,
            with_patch=False,
        ),
        Point(
            FAULT_PUT,
            "fault.put",
            "kvm_riscv_gstage_map",
            "marked accessed, the page is marked once more and put next",
            patch=_MARKS_EARLY,
            with_patch=False,
        ),
        *FAULT_ENDS,
        Point(
            FAULT_RETRY,
            "fault.retry",
            "gstage_page_fault",
            "the page was possibly gone, the guest repeats the access",
        ),
        *AGING_AND_SLOTS,
        *LOGGING_STARTS,
        *HARVEST_START,
        Point(WP_FENCE, "wp.fence", "gstage_op_pte", "a leaf was write-protected, vCPUs leave the guest to drop it"),
        *HARVEST_END,
        *COPYING,
    )
)
