# SPDX-License-Identifier: GPL-2.0-only
"""Points that the architectures with a stage-2 table share, to be put into the table of each where its flows reach
them. An architecture's own points take numbers from 32 to 66 and from 160 on."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import WANT_WRITE, Point

# --- the hardware walk -------------------------------------------------------------------------------------------
WALK_TABLE: Final = 4
WALK_LEAF: Final = 5
WALK_FILL: Final = 7

HARDWARE_WALK: Final = (
    Point(WALK_TABLE, "walk.table", "page walker", "an entry of an upper level is read next"),
    Point(WALK_LEAF, "walk.leaf", "page walker", "the entry of the last table is read next"),
    Point(WALK_FILL, "walk.fill", "page walker", "the entry is cached, the access not yet done"),
)

LOOK_UP: Final = (*common.GUP, *common.MM, *common.INVALIDATION_START)
"""A fault asks the primary MMU for its page, which may make that invalidate what it replaces."""

# --- a fault looks its page up ------------------------------------------------------------------------------------
FAULT_SEQ: Final = 35
FAULT_GUP: Final = 36
FAULT_LOCK: Final = 40
FAULT_STALE: Final = 41


def asks(function: str, before: str = "the snapshot of mmu_invalidate_seq comes next") -> tuple[Point, Point]:
    """What `function` passes before it asks the primary MMU; `before` tells of the first of these."""
    return (
        Point(FAULT_SEQ, "fault.seq", function, before),
        Point(FAULT_GUP, "fault.gup", function, "snapshot taken, the primary MMU is asked next"),
    )


def answered(function: str) -> Point:
    """`function` has its page."""
    return Point(FAULT_LOCK, "fault.lock", function, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE)


def only_before(patch: str, number: int, name: str, function: str, about: str) -> Point:
    """A point that exists without the patch alone."""
    return Point(number, name, function, about, patch=patch, with_patch=False)


# --- faults where software sets every young bit, and tries to do no more first -----------------------------------
FAST_LOCK: Final = 32
FAST_MARK: Final = 33


def fast(function: str, patch: str, about: str) -> tuple[Point, ...]:
    """The fast path, and what it does after mmu_lock without the patch."""
    return (
        Point(FAST_LOCK, "fast.lock", function, "before anything is asked for", wants=WANT_WRITE),
        only_before(patch, FAST_MARK, "fast.mark", function, about),
    )


def stale(function: str, patch: str) -> Point:
    """Without the patch a page that may be gone is let go of after mmu_lock."""
    about = "the page was possibly gone, mmu_lock is released, it is marked accessed and put next"
    return only_before(patch, FAULT_STALE, "fault.stale", function, about)


def put_late(function: str, patch: str, number: int) -> Point:
    """The same of one that was mapped."""
    about = "mmu_lock is released, the page is marked accessed and put next"
    return only_before(patch, number, "fault.put", function, about)


def retried(function: str) -> Point:
    """The slow path is a loop: the guest does not run again first."""
    about = "the page was possibly gone, it is looked up again at once"
    return Point(common.FAULT_RETRY, "fault.retry", function, about)


# --- the end of a fault ------------------------------------------------------------------------------------------
PLACEBO_EXIT: Final = 9
FAULT_EXIT: Final = 67

FAULT_ENDS: Final = (
    Point(
        PLACEBO_EXIT,
        "placebo.exit",
        "kvm_arch_vcpu_ioctl_run",
        "a point that only the placebo has",
        patch="placebo-points",
    ),
    Point(FAULT_EXIT, "fault.exit", "kvm_arch_vcpu_ioctl_run", "the fault is handled, SRCU is released next"),
)

# --- aging, memslot updates and dirty logging --------------------------------------------------------------------
SLOT_LOCK: Final = 86
SLOT_FLUSH: Final = 87
WP_LOCK: Final = 104
WP_SET: Final = 105
WP_FLUSH: Final = 112

AGING_AND_SLOTS: Final = (
    *common.AGING_START,
    *common.AGING_ENDS_FLUSHED,
    *common.MEMSLOTS,
    Point(
        SLOT_LOCK,
        "slot.lock",
        "kvm_arch_flush_shadow_memslot",
        "the slot is INVALID, mmu_lock comes next",
        wants=WANT_WRITE,
    ),
)
SLOT_ZAP_FLUSHES: Final = (
    Point(
        SLOT_FLUSH, "slot.flush", "kvm_arch_flush_shadow_memslot", "the slot's leaves are gone, flush requests posted"
    ),
)
LOGGING_STARTS: Final = (
    Point(
        WP_LOCK,
        "wp.lock",
        "kvm_arch_commit_memory_region",
        "the slot logs from now on, mmu_lock comes next",
        wants=WANT_WRITE,
    ),
    Point(WP_FLUSH, "wp.flush", "kvm_arch_commit_memory_region", "the slot is write-protected, flush requests posted"),
)
WRITE_PROTECTION: Final = (
    Point(WP_SET, "wp.set", "write protection of a range", "a writable leaf was read, it loses its right next"),
)
HARVEST: Final = (*common.HARVEST_START, *WRITE_PROTECTION, *common.HARVEST_END, *common.COPYING)
"""Where the harvest has no points but these."""
