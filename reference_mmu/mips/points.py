# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of MIPS, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import Point, PointTable
from ..stage2 import points as stage2

# --- page fault --------------------------------------------------------------------------------------------------
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
        *stage2.fast(
            "_kvm_mips_map_page_fast",
            "mips-accessed-slow-path-only",
            "the entry was old, mmu_lock is released, the page is marked accessed next",
        ),
        *stage2.asks(_SLOW),
        *stage2.LOOK_UP,
        *common.INVALIDATION_END,
        stage2.answered(_SLOW),
        stage2.stale(_SLOW, "mips-faultin-pfn"),
        stage2.put_late(_SLOW, _RELEASED_EARLY, FAULT_PUT),
        stage2.only_before(
            _RELEASED_EARLY, FAULT_MARK, "fault.mark", _SLOW, "the page was put, it is marked accessed once more next"
        ),
        *stage2.FAULT_ENDS,
        stage2.retried(_SLOW),
        *stage2.AGING_AND_SLOTS,
        *stage2.SLOT_ZAP_FLUSHES,
        *stage2.LOGGING_STARTS,
        *stage2.HARVEST,
    )
)
