# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of powerpc, in the order in which the flows of each MMU reach them."""

from __future__ import annotations

from typing import Final

from .. import points as common
from ..points import WANT_WRITE, Point, PointTable
from ..stage2 import points as stage2

# --- e500 ------------------------------------------------------------------------------------------------------------
E500_ENTER: Final = 242
E500_SEQ: Final = 32
E500_GUP: Final = 33
E500_LOCK: Final = 34
E500_PUT: Final = 35
E500_WRITE: Final = 36

_E500: Final = "kvmppc_e500_shadow_map"
_E500_BEGINS: Final = (
    Point(E500_SEQ, "e500.seq", _E500, "the guest has the entry, the snapshot of mmu_invalidate_seq comes next"),
    Point(E500_GUP, "e500.gup", _E500, "snapshot taken, the page is looked up next"),
)
_E500_MAPS: Final = (
    Point(E500_LOCK, "e500.lock", _E500, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
    stage2.only_before(
        "e500-accessed-before-unlock",
        E500_PUT,
        "e500.put",
        _E500,
        "mmu_lock is released, the page is marked accessed and put next",
    ),
    Point(E500_WRITE, "e500.write", "write_stlbe", "mmu_lock is released, the entry is written to the TLB next"),
)

# --- HV: Radix, HPT --------------------------------------------------------------------------------------------------
RADIX_RC: Final = 37
RADIX_SEQ: Final = 38
RADIX_GUP: Final = 40
HV_SEQ: Final = 41
HV_GUP: Final = 42
RADIX_LOOKUP: Final = 43
RADIX_CREATE: Final = 44
HV_TLBIE: Final = 45
RADIX_DIRTY: Final = 46
HV_LOOKUP: Final = 47
HV_HPTE: Final = 48
HV_DIRTY: Final = 49
RADIX_FLUSH: Final = 50
RADIX_HARVEST: Final = 51

_RADIX: Final = "kvmppc_book3s_instantiate_page"
_HV: Final = "kvmppc_book3s_hv_page_fault"
_HV_BEGINS: Final = (
    Point(
        RADIX_RC,
        "radix.rc",
        "kvmppc_book3s_radix_page_fault",
        "the leaf misses R or C alone, mmu_lock comes next",
        wants=WANT_WRITE,
    ),
    Point(RADIX_SEQ, "radix.seq", _RADIX, "the memslot is known, the snapshot of mmu_invalidate_seq comes next"),
    Point(RADIX_GUP, "radix.gup", _RADIX, "snapshot taken, the primary MMU is asked next"),
    Point(HV_SEQ, "hv.seq", _HV, "the HPTE was read, the snapshot of mmu_invalidate_seq comes next"),
    Point(HV_GUP, "hv.gup", _HV, "snapshot taken, the primary MMU is asked next"),
)
_HV_MAPS: Final = (
    Point(RADIX_LOOKUP, "radix.lookup", _RADIX, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
    Point(
        RADIX_CREATE,
        "radix.create",
        "kvmppc_create_pte",
        "the host PTE was read, mmu_lock is taken again next",
        wants=WANT_WRITE,
    ),
)
_HV_MAPPED: Final = (
    Point(RADIX_DIRTY, "radix.dirty", _RADIX, "mmu_lock is released, the page is marked dirty and put next"),
    Point(HV_LOOKUP, "hv.lookup", _HV, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
    Point(HV_HPTE, "hv.hpte", _HV, "the host PTE was read, the HPTE is locked and set next"),
    Point(HV_DIRTY, "hv.dirty", _HV, "the HPTE is set, the page is marked dirty and put next"),
)
_HV_LOG: Final = (
    Point(
        RADIX_FLUSH,
        "radix.flush",
        "kvmppc_radix_flush_memslot",
        "logging was switched, mmu_lock comes next",
        wants=WANT_WRITE,
    ),
    Point(
        RADIX_HARVEST,
        "radix.harvest",
        "kvm_radix_test_clear_dirty",
        "a dirty leaf was seen, mmu_lock comes next",
        wants=WANT_WRITE,
    ),
)

# --- PR, and what has no fault ---------------------------------------------------------------------------------------
PR_SEQ: Final = 52
PR_GUP: Final = 53
PR_PFLUSH: Final = 54
PR_LOCK: Final = 55
PR_PUT: Final = 56
PR32_GUP: Final = 57
PR32_INSERT: Final = 58
PR32_PUT: Final = 59
DCBZ_PATCH: Final = 60
UV_SHARE_LOCK: Final = 61
GET_PFLUSH: Final = 62
GET_CLEAR: Final = 63

_PR: Final = "kvmppc_mmu_map_page"
_PR_BEGINS: Final = (
    Point(PR_SEQ, "pr.seq", _PR, "the memslot is known, the snapshot of mmu_invalidate_seq comes next"),
    Point(PR_GUP, "pr.gup", _PR, "snapshot taken, the page is looked up next"),
    Point(PR32_GUP, "pr32.gup", _PR, "the memslot is known, the page is looked up next"),
)
_PR_MAPS: Final = (
    Point(PR_LOCK, "pr.lock", _PR, "the page is in hand, mmu_lock comes next", wants=WANT_WRITE),
    stage2.only_before(
        "ppc-pr-dirty-accessed-after-pte",
        PR_PUT,
        "pr.put",
        _PR,
        "mmu_lock is released, the page is marked accessed and put next",
    ),
    Point(PR32_INSERT, "pr32.insert", _PR, "the page is in hand, the entry is inserted next, without mmu_lock"),
    Point(PR32_PUT, "pr32.put", _PR, "the entry is inserted, the page is put next"),
    Point(DCBZ_PATCH, "dcbz.patch", "kvmppc_patch_dcbz", "the page is in hand, its instructions are rewritten next"),
    Point(UV_SHARE_LOCK, "uv.share_lock", "kvmppc_share_page", "the page is in hand, the ultravisor gets it next"),
)
_GET_PR: Final = "kvm_vm_ioctl_get_dirty_log_pr"
_PR_LOG: Final = (
    Point(GET_PFLUSH, "get.pflush", _GET_PR, "the bitmap was copied, the entries of one vCPU are dropped next"),
    Point(GET_CLEAR, "get.clear", _GET_PR, "all entries are dropped, the bitmap is cleared next"),
)

POINTS: Final = PointTable(
    (
        *stage2.HARDWARE_WALK,
        Point(E500_ENTER, "e500.enter", "kvmppc_prepare_to_enter", "requests were looked for, the guest runs next"),
        Point(common.FAULT_ENTER, "fault.enter", "kvmppc_handle_exit", "the guest has faulted, SRCU held"),
        *_E500_BEGINS,
        *_HV_BEGINS,
        *_PR_BEGINS,
        *stage2.LOOK_UP,
        *_HV_MAPS,
        Point(PR_PFLUSH, "pr.pflush", "do_kvm_unmap_gfn", "the entries of one vCPU are dropped next"),
        Point(HV_TLBIE, "hv.tlbie", "kvmppc_unmap_pte", "an entry was cleared, its tlbie is under way"),
        *common.INVALIDATION_END,
        *_E500_MAPS,
        *_HV_MAPPED,
        *_PR_MAPS,
        *stage2.FAULT_ENDS,
        Point(
            common.FAULT_RETRY, "fault.retry", "kvmppc_handle_exit", "the page was stale, the guest repeats the access"
        ),
        *stage2.AGING_AND_SLOTS,
        *stage2.LOGGING_STARTS,
        *_HV_LOG,
        *_PR_LOG,
        *common.HARVEST_START,
        *common.HARVEST_END,
        *common.COPYING,
    )
)
