# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of s390, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import Point, PointTable

# --- the guest, and KVM for it ---------------------------------------------------------------------------------------
SIE_ACCESS: Final = 1
FAULT_EXIT: Final = 61
VSIE_PIN: Final = 206
VSIE_SHADOW: Final = 207
VSIE_RUN: Final = 208
VSIE_UNPIN: Final = 209
GET_CLEAR: Final = 126

POINTS: Final = PointTable(
    (
        Point(SIE_ACCESS, "sie.access", "SIE", "in the guest, the process's page table is walked next"),
        Point(common.FAULT_ENTER, "fault.enter", "gmap_fault", "the host PTE does not allow the access"),
        Point(VSIE_PIN, "vsie.pin", "kvm_s390_handle_vsie", "the guest executed SIE, its control block is pinned next"),
        Point(VSIE_SHADOW, "vsie.shadow", "shadow_scb", "the control block is pinned, it is read next"),
        *common.GUP,
        *common.MM,
        *common.INVALIDATION_END,
        Point(FAULT_EXIT, "fault.exit", "gmap_fault", "the process's fault is handled"),
        Point(VSIE_RUN, "vsie.run", "do_vsie_run", "all blocks are pinned, the guest's guest runs next"),
        Point(VSIE_UNPIN, "vsie.unpin", "unpin_blocks", "the guest's guest has left SIE, all is unpinned next"),
        *common.AGING_START,
        *common.AGING_ENDS_FLUSHED,
        *common.MEMSLOTS,
        Point(GET_CLEAR, "get.clear", "kvm_vm_ioctl_get_dirty_log", "the bitmap was copied, it is cleared next"),
        *common.COPYING,
    )
)
