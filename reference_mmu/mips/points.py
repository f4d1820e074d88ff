# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of MIPS, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import WANT_WRITE, Point, PointTable
from ..stage2 import points as stage2

# --- page fault --------------------------------------------------------------------------------------------------
FAST_LOCK: Final = 32
FAST_MARK: Final = 33
_FAST: Final = (
    Point(FAST_LOCK, "fast.lock", "_kvm_mips_map_page_fast", "before anything is asked for", wants=WANT_WRITE),
    stage2.only_before(
        "mips-accessed-slow-path-only",
        FAST_MARK,
        "fast.mark",
        "_kvm_mips_map_page_fast",
        "the entry was old, mmu_lock is released, the page is marked accessed next",
    ),
)

FAULT_PUT: Final = 47
FAULT_MARK: Final = 48

_SLOW: Final = "kvm_mips_map_page"
_RELEASED_EARLY: Final = "mips-accessed-before-unlock"

POINTS: Final = PointTable(
    (
        *stage2.HARDWARE_WALK,
        Point(
            common.FAULT_ENTER, "fault.enter", "kvm_mips_handle_vz_root_tlb_fault", "the guest has faulted, SRCU held"
        ),
        *_FAST,
        *stage2.asks(_SLOW),
        *stage2.LOOK_UP,
        *common.INVALIDATION_END,
        stage2.answered(_SLOW),
        stage2.only_before(
            "mips-faultin-pfn",
            stage2.FAULT_STALE,
            "fault.stale",
            _SLOW,
            "the page was possibly gone, mmu_lock is released, it is marked accessed and put next",
        ),
        stage2.only_before(
            _RELEASED_EARLY,
            FAULT_PUT,
            "fault.put",
            _SLOW,
            "mmu_lock is released, the page is marked accessed and put next",
        ),
        stage2.only_before(
            _RELEASED_EARLY, FAULT_MARK, "fault.mark", _SLOW, "the page was put, it is marked accessed once more next"
        ),
        *stage2.FAULT_ENDS,
        Point(common.FAULT_RETRY, "fault.retry", _SLOW, "the page was possibly gone, it is looked up again at once"),
        *stage2.AGING_AND_SLOTS,
        *stage2.SLOT_ZAP_FLUSHES,
        *stage2.LOGGING_STARTS,
        *stage2.HARVEST,
    )
)
