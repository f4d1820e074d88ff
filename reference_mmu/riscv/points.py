# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of RISC-V, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import WANT_WRITE, Point, PointTable
from ..stage2 import points as stage2

# --- page fault --------------------------------------------------------------------------------------------------
MAP_FENCE: Final = 44
FAULT_MARK: Final = 46
FAULT_PUT: Final = 48

# --- ranges --------------------------------------------------------------------------------------------------------
UNMAP_FENCE: Final = 37
UNMAP_RELOCK: Final = 38

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

WP_FENCE: Final = 39

_MARKS_EARLY: Final = "riscv-accessed-before-unlock"

POINTS: Final = PointTable(
    (
        *stage2.HARDWARE_WALK,
        Point(common.FAULT_ENTER, "fault.enter", "gstage_page_fault", "the guest has faulted, SRCU held"),
        *stage2.asks("kvm_riscv_gstage_map", "the cache is topped up, the snapshot of mmu_invalidate_seq comes next"),
        *stage2.LOOK_UP,
        *UNMAPPING,
        *common.INVALIDATION_END,
        stage2.answered("kvm_riscv_gstage_map"),
        Point(MAP_FENCE, "map.fence", "gstage_set_pte", "the leaf is stored, vCPUs leave the guest to drop the old"),
        stage2.only_before(
            _MARKS_EARLY,
            FAULT_MARK,
            "fault.mark",
            "kvm_riscv_gstage_map",
            "mmu_lock is released, the page is marked accessed next",
        ),
        stage2.only_before(
            _MARKS_EARLY,
            FAULT_PUT,
            "fault.put",
            "kvm_riscv_gstage_map",
            "marked accessed, the page is marked once more and put next",
        ),
        *stage2.FAULT_ENDS,
        Point(
            common.FAULT_RETRY,
            "fault.retry",
            "gstage_page_fault",
            "the page was possibly gone, the guest repeats the access",
        ),
        *stage2.AGING_AND_SLOTS,
        *stage2.LOGGING_STARTS,
        *common.HARVEST_START,
        Point(WP_FENCE, "wp.fence", "gstage_op_pte", "a leaf was write-protected, vCPUs leave the guest to drop it"),
        *common.HARVEST_END,
        *common.COPYING,
    )
)
