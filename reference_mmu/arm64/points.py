# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of arm64, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import WANT_READ, WANT_SLOTS_LOCK, WANT_WRITE, Point, PointTable
from ..stage2 import points as stage2

# --- page fault --------------------------------------------------------------------------------------------------
ACCESS_LOCK: Final = 32
ACCESS_SET: Final = 33
ACCESS_MARK: Final = 34
FAULT_SEQ: Final = 35
FAULT_GUP: Final = 36

# --- tags --------------------------------------------------------------------------------------------------------
TAGS_LOCK: Final = 51
TAGS_COPY: Final = 52

# --- unmapping ---------------------------------------------------------------------------------------------------
UNMAP_TLBI: Final = 37
APPLY_RELOCK: Final = 38
UNMAP_TABLE: Final = 39

# --- eager splitting -----------------------------------------------------------------------------------------------
SPLIT_LOCK: Final = 49
SPLIT_RELOCK: Final = 50

# --- page fault, second half -------------------------------------------------------------------------------------
FAULT_LOCK: Final = 40
RELAX_SET: Final = 41
RELAX_TLBI: Final = 42
MAP_BREAK: Final = 43
MAP_TLBI: Final = 44
MAP_MAKE: Final = 45
FAULT_MARK: Final = 46
FAULT_LOG: Final = 47
FAULT_PUT: Final = 48

_MARKS_EARLY: Final = "arm64-accessed-dirty-before-unlock"

POINTS: Final = PointTable(
    (
        *stage2.HARDWARE_WALK,
        Point(common.FAULT_ENTER, "fault.enter", "kvm_handle_guest_abort", "the guest has faulted, SRCU held"),
        Point(ACCESS_LOCK, "access.lock", "handle_access_fault", "the leaf was not young", wants=WANT_READ),
        Point(ACCESS_SET, "access.set", "kvm_pgtable_stage2_mkyoung", "the leaf was read, before the cmpxchg"),
        stage2.only_before(
            "arm64-mkyoung-no-mark-accessed",
            ACCESS_MARK,
            "access.mark",
            "handle_access_fault",
            "mmu_lock is released, whatever the leaf mapped is marked accessed next",
        ),
        Point(
            FAULT_SEQ, "fault.seq", "user_mem_abort", "caches topped up, the snapshot of mmu_invalidate_seq comes next"
        ),
        Point(FAULT_GUP, "fault.gup", "user_mem_abort", "snapshot taken, the primary MMU is asked next"),
        Point(
            TAGS_LOCK, "tags.lock", "kvm_vm_ioctl_mte_copy_tags", "an ioctl about tags begins", wants=WANT_SLOTS_LOCK
        ),
        *stage2.LOOK_UP,
        Point(UNMAP_TLBI, "unmap.tlbi", "stage2_unmap_walker", "an entry was cleared, the TLBI for it is under way"),
        Point(
            UNMAP_TABLE, "unmap.table", "stage2_unmap_walker", "a table is empty, the entry that leads to it goes next"
        ),
        Point(
            APPLY_RELOCK,
            "apply.relock",
            "stage2_apply_range",
            "mmu_lock dropped between two parts of a range, it is taken again next",
            wants=WANT_WRITE,
            is_break=True,
        ),
        *common.INVALIDATION_END,
        Point(TAGS_COPY, "tags.copy", "kvm_vm_ioctl_mte_copy_tags", "the page is in hand, its tags are copied next"),
        Point(FAULT_LOCK, "fault.lock", "user_mem_abort", "the page is in hand, mmu_lock comes next", wants=WANT_READ),
        Point(RELAX_SET, "relax.set", "stage2_attr_walker", "the leaf was read, before the cmpxchg that adds rights"),
        Point(
            RELAX_TLBI,
            "relax.tlbi",
            "kvm_pgtable_stage2_relax_perms",
            "the leaf allows more, this CPU drops its own entry next",
        ),
        Point(MAP_BREAK, "map.break", "stage2_try_break_pte", "the entry was read, before the cmpxchg that locks it"),
        Point(MAP_TLBI, "map.tlbi", "stage2_try_break_pte", "the entry is locked, the TLBI for it is under way"),
        Point(MAP_MAKE, "map.make", "stage2_make_pte", "the entry is locked, its new value is stored next"),
        stage2.only_before(
            _MARKS_EARLY, FAULT_MARK, "fault.mark", "user_mem_abort", "mmu_lock is released, the page is marked next"
        ),
        Point(FAULT_LOG, "fault.log", "user_mem_abort", "mmu_lock is released, the gfn is not yet in the bitmap"),
        stage2.only_before(
            _MARKS_EARLY,
            FAULT_PUT,
            "fault.put",
            "user_mem_abort",
            "mmu_lock is released, the page is marked accessed and put next",
        ),
        *stage2.FAULT_ENDS,
        Point(
            common.FAULT_RETRY,
            "fault.retry",
            "kvm_handle_guest_abort",
            "the fault ends with -EAGAIN, the guest repeats the access",
        ),
        *stage2.AGING_AND_SLOTS,
        *stage2.LOGGING_STARTS,
        Point(
            SPLIT_LOCK,
            "split.lock",
            "kvm_mmu_split_memory_region",
            "the slot is write-protected and flushed, its blocks are split next",
            wants=WANT_WRITE,
        ),
        *common.HARVEST_START,
        *stage2.WRITE_PROTECTION,
        Point(
            SPLIT_RELOCK,
            "split.relock",
            "kvm_mmu_split_huge_pages",
            "mmu_lock dropped to get pages for tables, it is taken again next",
            wants=WANT_WRITE,
            is_break=True,
        ),
        *common.HARVEST_END,
        *common.COPYING,
    )
)
