# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of LoongArch, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import Point, PointTable
from ..stage2 import points as stage2

# --- page fault --------------------------------------------------------------------------------------------------
FAST_LOG: Final = 34
_FAST: Final = (
    *stage2.fast(
        "kvm_map_page_fast",
        "loongarch-accessed-slow-path-only",
        "the entry has changed and mmu_lock is released, the page is marked accessed next if it was old",
    ),
    Point(
        FAST_LOG,
        "fast.log",
        "kvm_map_page_fast",
        "the entry is dirty and mmu_lock released, the gfn is not yet in the bitmap",
    ),
)

FAULT_LOG: Final = 46
FAULT_MARK: Final = 47
FAULT_PUT: Final = 48
_ENDS: Final = (
    Point(FAULT_LOG, "fault.log", "kvm_map_page", "mmu_lock is released, the gfn is not yet in the bitmap"),
    stage2.only_before(
        "loongarch-dirty-slow-path-only",
        FAULT_MARK,
        "fault.mark",
        "kvm_map_page",
        "the gfn is logged, the page is marked dirty next",
    ),
    stage2.put_late("kvm_map_page", "loongarch-accessed-before-unlock", FAULT_PUT),
)

POINTS: Final = PointTable(
    (
        *stage2.HARDWARE_WALK,
        Point(common.FAULT_ENTER, "fault.enter", "kvm_handle_mm_fault", "the guest has faulted, SRCU held"),
        *_FAST,
        *stage2.asks("kvm_map_page"),
        *stage2.LOOK_UP,
        *common.INVALIDATION_END,
        stage2.answered("kvm_map_page"),
        stage2.stale("kvm_map_page", "loongarch-faultin-pfn"),
        *_ENDS,
        *stage2.FAULT_ENDS,
        stage2.retried("kvm_map_page"),
        *stage2.AGING_AND_SLOTS,
        *stage2.SLOT_ZAP_FLUSHES,
        *stage2.LOGGING_STARTS,
        *stage2.HARVEST,
    )
)
