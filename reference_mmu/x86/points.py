# SPDX-License-Identifier: GPL-2.0-only
"""The preemption points of x86, in the order in which flows reach them (see points.py above this room)."""

from __future__ import annotations

from typing import Final

from ..points import (
    AGING_END,
    AGING_START,
    ATTRIBUTES,
    CACHES,
    CACHES_END,
    COPYING,
    FAULT_BEGINS,
    FAULT_IS_RETRIED,
    GMEM_END,
    GMEM_START,
    GUP,
    HARVEST_END,
    HARVEST_START,
    INVALIDATION_END,
    INVALIDATION_START,
    KERNEL_MAPS,
    MEMSLOTS,
    MM,
    WANT_MMU,
    WANT_NOTIFIERS,
    WANT_READ,
    WANT_WRITE,
    Point,
    PointTable,
)

# --- entering the guest, and the hardware walk -------------------------------------------------------------------
VCPU_UNLOAD: Final = 1
VCPU_FREE_FLUSH: Final = 2
VCPU_LOAD: Final = 3
WALK_TABLE: Final = 4
WALK_LEAF: Final = 5
WALK_DIRTY: Final = 6
WALK_FILL: Final = 7

# --- page fault --------------------------------------------------------------------------------------------------
FPF_STEP: Final = 18
FPF_READ: Final = 9
FPF_MARK: Final = 10
GPTE_READ: Final = 11
GPTE_UPDATE: Final = 12
GPTE_MARK: Final = 34
FAULT_SEQ: Final = 13
FAULT_GUP: Final = 14

# --- mmu_notifier invalidation -----------------------------------------------------------------------------------
ITER_FLUSH: Final = 22
ITER_RELOCK_W: Final = 23
ITER_RELOCK_R: Final = 24
ZAP_LEAF: Final = 25

# --- page fault, second half -------------------------------------------------------------------------------------
FAULT_PFN: Final = 40
PLACEBO_FAULT: Final = 41
FAULT_LOCK_R: Final = 42
FAULT_LOCK_W: Final = 43
MAP_STEP: Final = 44
MAP_LINK: Final = 45
MAP_TARGET: Final = 46
MAP_FROZEN_CHILD: Final = 47
MAP_FLUSH: Final = 48
MAP_WARN_FLUSH: Final = 49
MAP_DONE: Final = 50
REMOVED_CHILD: Final = 32
SYNC_LOCK: Final = 51
SYNC_SPTE: Final = 52
SYNC_FLUSH: Final = 53
TRACK_LOCK: Final = 54
TRACK_PROTECT: Final = 55
TRACK_FLUSH: Final = 56
SHADOW_ZAP_FLUSH: Final = 57
SHADOW_DROP_FLUSH: Final = 58
SHADOW_SET: Final = 59
SHADOW_FLUSH: Final = 60
PREFETCH_NEXT: Final = 61
EMULATE: Final = 62
EMULATE_MARK: Final = 33
PTE_WRITE_LOCK: Final = 63
PTE_WRITE_REQUEST: Final = 26
PTE_WRITE_ZAP: Final = 64
PTE_WRITE_FLUSH: Final = 65
PLACEBO_EXIT: Final = 66
FAULT_EXIT: Final = 67
FAULT_RELEASE: Final = 69

# --- the APIC access page ----------------------------------------------------------------------------------------
APIC_SEQ: Final = 206
APIC_LOOK_UP: Final = 207
APIC_LOCK: Final = 208
APIC_RELEASE: Final = 209
APIC_AGAIN: Final = 210
APIC_ACCESS: Final = 211
APIC_FAULT_IN: Final = 212
APIC_REQUEST: Final = 213

# --- nested guests -----------------------------------------------------------------------------------------------
L2_RUN: Final = 202
L2_EXIT: Final = 203

# --- aging -------------------------------------------------------------------------------------------------------
AGE_SPTE: Final = 71

# --- memslot updates and dirty logging ---------------------------------------------------------------------------
PML_REQUEST: Final = 85
FRONT_LOCK: Final = 86
FRONT_REQUEST: Final = 87
FRONT_YIELD: Final = 88
FRONT_FLUSH: Final = 90
BACK_LOCK: Final = 91
BACK_RELOCK: Final = 92
BACK_ZAP: Final = 93
LOG_SPLIT_LOCK_R: Final = 101
SPLIT_ALLOC: Final = 102
SPLIT_LINK: Final = 103
LOG_CLEAR_LOCK_W: Final = 104
LOG_CLEAR_W: Final = 105
LOG_CLEAR_LOCK_R: Final = 106
LOG_CLEAR: Final = 107
LOG_PROTECT_LOCK_W: Final = 108
LOG_PROTECT_W: Final = 109
LOG_PROTECT_LOCK_R: Final = 110
LOG_PROTECT: Final = 111
LOG_ENABLE_FLUSH: Final = 112
GET_KICK: Final = 120
GET_SPLIT_ALLOC: Final = 123
GET_SPLIT_LINK: Final = 124
GET_PROTECT: Final = 125
COLLAPSE_LOCK_W: Final = 130
COLLAPSE_ZAP_W: Final = 131
COLLAPSE_FLUSH_W: Final = 132
COLLAPSE_LOCK_R: Final = 133
COLLAPSE_YIELD_FLUSH: Final = 134
COLLAPSE_RELOCK: Final = 135
COLLAPSE_ZAP: Final = 136
COLLAPSE_FROZEN: Final = 137
COLLAPSE_FLUSH: Final = 138

# --- zap of a gfn range ------------------------------------------------------------------------------------------
RANGE_LOCK: Final = 160
RANGE_FLUSH: Final = 164

POINTS: Final = PointTable(
    (
        # entering the guest, and the hardware walk
        Point(
            VCPU_UNLOAD,
            "vcpu.unload",
            "kvm_mmu_free_roots",
            "the root is to be dropped, mmu_lock comes next",
            wants=WANT_MMU,
        ),
        Point(
            VCPU_FREE_FLUSH,
            "vcpu.free_flush",
            "kvm_mmu_commit_zap_page",
            "the last user drops a zapped shadow root, flush requests posted",
        ),
        Point(VCPU_LOAD, "vcpu.load", "kvm_mmu_load", "the vCPU has no root, mmu_lock comes next", wants=WANT_MMU),
        Point(WALK_TABLE, "walk.table", "page walker", "an entry of an upper level is read next"),
        Point(WALK_LEAF, "walk.leaf", "page walker", "the entry of the last table it needs is read next"),
        Point(
            WALK_DIRTY, "walk.dirty", "page walker", "a write has hit an entry with D=0, the walk to set D comes next"
        ),
        Point(WALK_FILL, "walk.fill", "page walker", "the entry is cached, the access not yet done"),
        # page fault
        FAULT_BEGINS,
        Point(FPF_STEP, "fpf.step", "fast_pf_get_last_sptep", "a table was found without a lock, it is read next"),
        Point(FPF_READ, "fpf.read", "fast_page_fault", "the leaf was read, before the cmpxchg"),
        Point(FPF_MARK, "fpf.mark", "fast_pf_fix_direct_spte", "the SPTE is writable, the dirty bit not yet set"),
        Point(GPTE_READ, "gpte.read", "FNAME(walk_addr_generic)", "an entry of a guest page table is read next"),
        Point(
            GPTE_UPDATE,
            "gpte.update",
            "FNAME(update_accessed_dirty_bits)",
            "A or D is missing in a guest's entry, before the cmpxchg",
        ),
        Point(
            GPTE_MARK,
            "gpte.mark",
            "FNAME(update_accessed_dirty_bits)",
            "A or D was set in a guest's entry, the bit of the dirty log comes next",
        ),
        Point(
            FAULT_SEQ,
            "fault.seq",
            "kvm_mmu_faultin_pfn",
            "caches topped up, the snapshot of mmu_invalidate_seq comes next",
        ),
        Point(FAULT_GUP, "fault.gup", "__kvm_faultin_pfn", "snapshot taken, the primary MMU is asked next"),
        Point(
            APIC_SEQ,
            "apic.seq",
            "vmx_set_apic_access_page_addr",
            "the page is to be looked up again, the snapshot of mmu_invalidate_seq comes next",
        ),
        Point(
            APIC_LOOK_UP,
            "apic.look_up",
            "vmx_set_apic_access_page_addr",
            "snapshot taken, the primary MMU is asked next",
        ),
        *CACHES,
        *GUP,
        *MM,
        *GMEM_START,
        # mmu_notifier invalidation
        *INVALIDATION_START,
        Point(
            ITER_FLUSH,
            "iter.flush",
            "tdp_mmu_iter_cond_resched",
            "somebody wants mmu_lock, flush requests posted before it is dropped",
        ),
        Point(
            ITER_RELOCK_W,
            "iter.relock_w",
            "cond_resched_rwlock_write",
            "mmu_lock dropped in a walk, it is taken again next",
            wants=WANT_WRITE,
            is_break=True,
        ),
        Point(
            ITER_RELOCK_R,
            "iter.relock_r",
            "cond_resched_rwlock_read",
            "mmu_lock dropped in a walk, it is taken again next",
            wants=WANT_READ,
            is_break=True,
        ),
        Point(ZAP_LEAF, "zap.leaf", "tdp_mmu_zap_leafs", "a present leaf was found, it is zapped next"),
        Point(
            APIC_REQUEST,
            "apic.request",
            "kvm_unmap_gfn_range",
            "KVM_REQ_APIC_PAGE_RELOAD posted, waits for all vCPUs",
        ),
        *GMEM_END,
        *INVALIDATION_END,
        Point(
            APIC_LOCK,
            "apic.lock",
            "vmx_set_apic_access_page_addr",
            "the page is in hand, mmu_lock comes next",
            wants=WANT_READ,
        ),
        Point(
            APIC_RELEASE,
            "apic.release",
            "vmx_set_apic_access_page_addr",
            "mmu_lock was released, the page is marked and put next",
            patch="vmx-apic-page-hold-mmu-lock",
            with_patch=False,
        ),
        Point(
            APIC_AGAIN,
            "apic.again",
            "vcpu_enter_guest",
            "the page has to be looked up once more before the guest is entered",
            wants=WANT_NOTIFIERS,
        ),
        Point(APIC_ACCESS, "apic.access", "guest", "in the guest, which uses its APIC next"),
        *KERNEL_MAPS,
        *CACHES_END,
        Point(L2_RUN, "l2.run", "nested_vmx_run", "the pages of vmcs12 are mapped, L2 runs next"),
        Point(L2_EXIT, "l2.exit", "__nested_vmx_vmexit", "L2 has exited, the pages of vmcs12 are unmapped next"),
        # page fault, second half
        Point(
            FAULT_PFN, "fault.pfn", "kvm_mmu_faultin_pfn", "the page is in hand, the unlocked stale check comes next"
        ),
        Point(
            PLACEBO_FAULT,
            "placebo.fault",
            "kvm_tdp_page_fault",
            "a point that only the placebo has",
            patch="placebo-points",
        ),
        Point(
            FAULT_LOCK_R,
            "fault.lock_r",
            "kvm_tdp_mmu_page_fault",
            "the page is in hand, mmu_lock comes next",
            wants=WANT_READ,
        ),
        Point(
            FAULT_LOCK_W,
            "fault.lock_w",
            "direct_page_fault",
            "the page is in hand, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(MAP_STEP, "map.step", "kvm_tdp_mmu_map", "the iterator reads the next entry"),
        Point(MAP_LINK, "map.link", "kvm_tdp_mmu_map", "a child table is ready, before the cmpxchg that links it"),
        Point(MAP_TARGET, "map.target", "tdp_mmu_map_handle_target_level", "new SPTE computed, before the cmpxchg"),
        Point(
            REMOVED_CHILD,
            "removed.child",
            "handle_removed_pt",
            "a page table is unlinked, the next of its present entries becomes FROZEN",
        ),
        Point(
            MAP_FROZEN_CHILD,
            "map.frozen_child",
            "handle_removed_pt",
            "a child entry is FROZEN, it is read again until it is not",
        ),
        Point(
            MAP_FLUSH,
            "map.flush",
            "tdp_mmu_map_handle_target_level",
            "a leaf has replaced a page table, flush requests posted",
        ),
        Point(
            MAP_WARN_FLUSH,
            "map.warn_flush",
            "tdp_mmu_map_handle_target_level",
            "the WARN has fired, flush requests posted",
            patch="tdp-fault-warn-flush-mmuw",
        ),
        Point(MAP_DONE, "map.done", "kvm_tdp_mmu_map", "the walk is over, rcu_read_unlock() comes next"),
        Point(
            SYNC_LOCK,
            "sync.lock",
            "mmu_sync_children",
            "the guest flushes and shadow pages are unsync, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(
            SYNC_SPTE,
            "sync.spte",
            "FNAME(sync_spte)",
            "an SPTE does not fit the guest's entry, it is dropped or rewritten next",
        ),
        Point(
            SYNC_FLUSH, "sync.flush", "kvm_mmu_remote_flush_or_zap", "SPTEs were synchronized, flush requests posted"
        ),
        Point(
            TRACK_LOCK,
            "track.lock",
            "kvm_write_track_add_gfn",
            "the slot is known, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(
            TRACK_PROTECT, "track.protect", "write_protect_gfn", "a writable SPTE was found, it is write-protected next"
        ),
        Point(
            TRACK_FLUSH,
            "track.flush",
            "__kvm_write_track_add_gfn",
            "an SPTE was write-protected, flush requests posted",
        ),
        Point(
            SHADOW_ZAP_FLUSH,
            "shadow.zap_flush",
            "kvm_mmu_commit_zap_page",
            "shadow pages were zapped, flush requests posted before they are freed",
        ),
        Point(
            SHADOW_DROP_FLUSH,
            "shadow.drop_flush",
            "drop_large_spte",
            "a huge SPTE was dropped, flush requests posted before a table takes its place",
        ),
        Point(SHADOW_SET, "shadow.set", "mmu_set_spte", "an SPTE of the shadow MMU is written next"),
        Point(
            SHADOW_FLUSH,
            "shadow.flush",
            "mmu_set_spte",
            "an SPTE lost rights, flush requests posted before mmu_lock is dropped",
        ),
        Point(PREFETCH_NEXT, "prefetch.next", "direct_pte_prefetch", "the next run of neighbours is prefetched"),
        Point(EMULATE, "emulate", "x86_emulate_instruction", "the emulator writes on behalf of the guest next"),
        Point(
            EMULATE_MARK,
            "emulate.mark",
            "kvm_vcpu_write_guest_page",
            "the emulator has written, the bit of the dirty log comes next",
        ),
        Point(
            PTE_WRITE_LOCK,
            "pte.write_lock",
            "kvm_mmu_track_write",
            "a guest page table was written and its SPTEs were not, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(
            PTE_WRITE_REQUEST,
            "pte.write_request",
            "kvm_mmu_prepare_zap_page",
            "a root was zapped, KVM_REQ_MMU_FREE_OBSOLETE_ROOTS posted, waits for all vCPUs",
        ),
        Point(PTE_WRITE_ZAP, "pte.write_zap", "kvm_mmu_track_write", "the SPTE of the written entry is zapped next"),
        Point(
            PTE_WRITE_FLUSH,
            "pte.write_flush",
            "kvm_mmu_remote_flush_or_zap",
            "SPTEs of a written table were zapped, flush requests posted",
        ),
        Point(
            FAULT_RELEASE,
            "fault.release",
            "kvm_tdp_mmu_page_fault",
            "mmu_lock was released, the page is marked and put next",
            patch="x86-finish-page-fault-helper",
            with_patch=False,
        ),
        Point(
            PLACEBO_EXIT,
            "placebo.exit",
            "kvm_mmu_page_fault",
            "a point that only the placebo has",
            patch="placebo-points",
        ),
        Point(FAULT_EXIT, "fault.exit", "kvm_mmu_page_fault", "the fault is handled, SRCU is released next"),
        FAULT_IS_RETRIED,
        # aging
        *AGING_START,
        Point(AGE_SPTE, "age.spte", "kvm_tdp_mmu_age_spte", "an accessed SPTE was found, it is aged next"),
        *AGING_END,
        # memslot updates and dirty logging
        *MEMSLOTS,
        *ATTRIBUTES,
        Point(
            APIC_FAULT_IN,
            "apic.fault_in",
            "kvm_alloc_apic_access_page",
            "the memslot is there, its page is faulted in next",
            patch="apic-page-no-initial-fault-in",
            with_patch=False,
        ),
        Point(
            PML_REQUEST,
            "pml.request",
            "kvm_mmu_update_cpu_dirty_logging",
            "KVM_REQ_UPDATE_CPU_DIRTY_LOGGING posted, waits for all vCPUs",
        ),
        Point(
            FRONT_LOCK,
            "front.lock",
            "kvm_arch_flush_shadow_memslot",
            "the slot is INVALID, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(
            FRONT_REQUEST,
            "front.request",
            "kvm_arch_flush_shadow_memslot",
            "KVM_REQ_MMU_FREE_OBSOLETE_ROOTS posted, waits for all vCPUs",
        ),
        Point(
            FRONT_YIELD,
            "front.yield",
            "kvm_zap_obsolete_pages",
            "mmu_lock dropped between obsolete pages, it is taken again next",
            wants=WANT_WRITE,
            is_break=True,
        ),
        Point(
            FRONT_FLUSH,
            "front.flush",
            "kvm_mmu_commit_zap_page",
            "obsolete shadow pages were zapped, flush requests posted",
        ),
        Point(
            BACK_LOCK,
            "back.lock",
            "kvm_tdp_mmu_zap_invalidated_roots",
            "all vCPUs are off the invalid roots, mmu_lock comes next",
            wants=WANT_READ,
        ),
        Point(
            BACK_RELOCK,
            "back.relock",
            "cond_resched_rwlock_read",
            "mmu_lock dropped in the zap of an invalid root, it is taken again next",
            wants=WANT_READ,
            is_break=True,
        ),
        Point(
            BACK_ZAP,
            "back.zap",
            "__tdp_mmu_zap_root",
            "a present entry of an invalid root was found, it is zapped next",
        ),
        Point(
            LOG_SPLIT_LOCK_R,
            "log.split_lock_r",
            "kvm_mmu_slot_try_split_huge_pages",
            "the slot logs, mmu_lock comes next",
            wants=WANT_READ,
        ),
        Point(
            SPLIT_ALLOC,
            "split.alloc",
            "tdp_mmu_alloc_sp_for_split",
            "mmu_lock dropped to allocate a table, it is taken again next",
            wants=WANT_READ,
            is_break=True,
        ),
        Point(
            SPLIT_LINK,
            "split.link",
            "tdp_mmu_split_huge_page",
            "a table of small leaves is ready, before the cmpxchg that links it",
        ),
        Point(
            LOG_CLEAR_LOCK_W,
            "log.clear_lock_w",
            "kvm_mmu_slot_leaf_clear_dirty",
            "D is to be cleared through the rmaps, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(LOG_CLEAR_W, "log.clear_w", "__rmap_clear_dirty", "an SPTE with D was found, D is cleared next"),
        Point(
            LOG_CLEAR_LOCK_R,
            "log.clear_lock_r",
            "kvm_mmu_slot_leaf_clear_dirty",
            "D is to be cleared in the TDP MMU, mmu_lock comes next",
            wants=WANT_READ,
        ),
        Point(
            LOG_CLEAR,
            "log.clear",
            "clear_dirty_gfn_range",
            "a leaf with D was found, before the cmpxchg that clears it",
        ),
        Point(
            LOG_PROTECT_LOCK_W,
            "log.protect_lock_w",
            "kvm_mmu_slot_remove_write_access",
            "W is to be removed through the rmaps, mmu_lock comes next",
            wants=WANT_WRITE,
        ),
        Point(LOG_PROTECT_W, "log.protect_w", "rmap_write_protect", "a writable SPTE was found, W is removed next"),
        Point(
            LOG_PROTECT_LOCK_R,
            "log.protect_lock_r",
            "kvm_mmu_slot_remove_write_access",
            "W is to be removed in the TDP MMU, mmu_lock comes next",
            wants=WANT_READ,
        ),
        Point(
            LOG_PROTECT,
            "log.protect",
            "wrprot_gfn_range",
            "a writable leaf was found, before the cmpxchg that removes W",
        ),
        Point(
            LOG_ENABLE_FLUSH,
            "log.enable_flush",
            "kvm_mmu_slot_apply_flags",
            "every write to the slot will show, flush requests posted",
        ),
        Point(
            GET_KICK,
            "get.kick",
            "kvm_arch_sync_dirty_log",
            "every vCPU is kicked next, so that PML buffers get drained",
        ),
        *HARVEST_START,
        Point(
            GET_SPLIT_ALLOC,
            "get.split_alloc",
            "tdp_mmu_alloc_sp_for_split",
            "mmu_lock dropped to allocate a table, it is taken again next",
            wants=WANT_WRITE,
            is_break=True,
        ),
        Point(
            GET_SPLIT_LINK,
            "get.split_link",
            "tdp_mmu_split_huge_page",
            "a table of small leaves is ready, it is linked next",
        ),
        Point(
            GET_PROTECT,
            "get.protect",
            "clear_dirty_pt_masked",
            "a leaf of a reported page was found, W or D is cleared next",
        ),
        *HARVEST_END,
        Point(
            COLLAPSE_LOCK_W,
            "collapse.lock_w",
            "kvm_mmu_zap_collapsible_sptes",
            "the slot does not log any more, mmu_lock comes next (rmaps)",
            wants=WANT_WRITE,
        ),
        Point(
            COLLAPSE_ZAP_W,
            "collapse.zap_w",
            "kvm_mmu_zap_collapsible_spte",
            "a small SPTE could be huge, it is zapped next",
        ),
        Point(
            COLLAPSE_FLUSH_W,
            "collapse.flush_w",
            "kvm_rmap_zap_collapsible_sptes",
            "SPTEs were zapped, flush requests posted",
        ),
        Point(
            COLLAPSE_LOCK_R,
            "collapse.lock_r",
            "kvm_mmu_zap_collapsible_sptes",
            "the slot does not log any more, mmu_lock comes next (TDP MMU)",
            wants=WANT_READ,
        ),
        Point(
            COLLAPSE_YIELD_FLUSH,
            "collapse.yield_flush",
            "tdp_mmu_iter_cond_resched",
            "tables were zapped and somebody wants mmu_lock, flush requests posted",
            patch="batch-collapsible-zap-flush",
        ),
        Point(
            COLLAPSE_RELOCK,
            "collapse.relock",
            "cond_resched_rwlock_read",
            "mmu_lock dropped in the walk, it is taken again next",
            wants=WANT_READ,
            is_break=True,
        ),
        Point(
            COLLAPSE_ZAP,
            "collapse.zap",
            "zap_collapsible_spte_range",
            "a table that a huge page could replace was found, before the cmpxchg that zaps it",
        ),
        Point(
            COLLAPSE_FROZEN,
            "collapse.frozen",
            "tdp_mmu_zap_spte_atomic",
            "the entry is FROZEN, flush requests posted",
            patch="batch-collapsible-zap-flush",
            with_patch=False,
        ),
        Point(
            COLLAPSE_FLUSH,
            "collapse.flush",
            "zap_collapsible_spte_range",
            "tables were zapped, flush requests posted",
            patch="batch-collapsible-zap-flush",
        ),
        *COPYING,
        # zap of a gfn range
        Point(RANGE_LOCK, "range.lock", "kvm_zap_gfn_range", "mmu_lock comes next", wants=WANT_WRITE),
        Point(RANGE_FLUSH, "range.flush", "kvm_zap_gfn_range", "SPTEs were zapped, flush requests posted"),
    )
)
