# SPDX-License-Identifier: GPL-2.0-only
"""Preemption points: where another CPU may run.

A flow yields one of these numbers.  The number *is* the rank: within every operation the points are numbered in the
order in which the source of its flow reaches them, inlined helpers included, so two models that run the same
operation can be compared by (operation, lap, rank) even when one of them has points that the other lacks.  A lap ends
when the rank does not grow, i.e. when a loop came round.

Numbers stay below 256: CPython does not allocate such integers, so yielding one is free, and the fuzzer keeps a point
in a byte (fuzzer.schedule.turns, fuzzer.run.coverage).
"""

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

# --- guest access: entering the guest, the hardware walk -------------------------------------------------------
VCPU_UNLOAD: Final = 1  # kvm_mmu_free_roots(): takes mmu_lock to drop a root
VCPU_FREE_FLUSH: Final = 2  # flush before the last user of a zapped shadow root frees it
VCPU_LOAD: Final = 3  # kvm_mmu_load(): takes mmu_lock to find or make a root
WALK_TABLE: Final = 4  # the page walker reads an upper-level entry
WALK_LEAF: Final = 5  # the page walker reads the last table it needs
WALK_DIRTY: Final = 6  # write hit on an entry with D=0: the walker goes back to set D
WALK_FILL: Final = 7  # entry cached, access not yet done

# --- page fault ------------------------------------------------------------------------------------------------
FAULT_ENTER: Final = 8  # VM exit taken, SRCU held
FPF_READ: Final = 9  # fast_page_fault() has read the leaf
FPF_MARK: Final = 10  # fast_page_fault() made the SPTE writable, dirty bit not yet set
GPTE_READ: Final = 11  # KVM is about to read an entry of a guest page table
GPTE_UPDATE: Final = 12  # about to set A or D in it: the cmpxchg decides
FAULT_SEQ: Final = 13  # caches topped up (slept); about to snapshot mmu_invalidate_seq
FAULT_GUP: Final = 14  # snapshot taken, about to ask the primary MMU
GUP_WAIT: Final = 15  # the host PTE is a migration entry or the page is locked: waits
GUP_FAULT: Final = 16  # GUP-fast failed, the slow path takes the host's own page fault

MM_WAIT: Final = 19  # the same for an operation of the primary MMU

# --- mmu_notifier invalidation (own operation, or inside GUP when it breaks CoW) --------------------------------
INV_ACTIVE: Final = 20  # invalidate_range_start() entered, mn_active_invalidate_count raised next
INV_LOCK: Final = 21
ITER_FLUSH: Final = 22  # flush before a yield of the TDP iterator
ITER_RELOCK_W: Final = 23  # mmu_lock dropped by cond_resched_rwlock_write()
ITER_RELOCK_R: Final = 24  # mmu_lock dropped by cond_resched_rwlock_read()
ZAP_LEAF: Final = 25  # before a leaf SPTE is zapped
INV_FLUSH: Final = 27  # between posting the flush requests and the last acknowledgement
INV_PRIMARY: Final = 28  # start returned: the primary MMU may change its PTEs
INV_CLEAN: Final = 29  # host PTEs gone, page not yet written out, copied or freed
INV_END_LOCK: Final = 30
INV_IO: Final = 31  # after end: writeback or freeing of what was unmapped

# --- page fault, second half -----------------------------------------------------------------------------------
FAULT_PFN: Final = 40  # page in hand (reference held), unlocked stale hint next
PLACEBO_FAULT: Final = 41  # exists only with the placebo-points switch
FAULT_LOCK_R: Final = 42
FAULT_LOCK_W: Final = 43
MAP_STEP: Final = 44  # iterator of kvm_tdp_mmu_map() about to read an entry
MAP_LINK: Final = 45  # child table ready, about to cmpxchg it in
MAP_TARGET: Final = 46  # new SPTE computed, about to cmpxchg it in
MAP_FROZEN_CHILD: Final = 47  # teardown met a FROZEN child, spins
MAP_FLUSH: Final = 48  # flush of a replaced page table
MAP_WARN_FLUSH: Final = 49  # flush after the WARN of tdp-fault-warn-flush-mmuw
MAP_DONE: Final = 50  # before rcu_read_unlock()
SYNC_LOCK: Final = 51  # INVLPG or a load of CR3: unsync shadow pages are to be synchronized
SYNC_SPTE: Final = 52  # sync_spte(): before an SPTE is dropped or rewritten to fit the guest's entry
SYNC_FLUSH: Final = 53
TRACK_LOCK: Final = 54  # write tracking, an operation of its own; the next two also when a guest table is shadowed
TRACK_PROTECT: Final = 55
TRACK_FLUSH: Final = 56
SHADOW_ZAP_FLUSH: Final = 57  # flush before zapped shadow pages are freed
SHADOW_DROP_FLUSH: Final = 58  # drop_large_spte(): flush of a huge page before a table takes its place
SHADOW_SET: Final = 59  # before an SPTE of the shadow MMU is written
SHADOW_FLUSH: Final = 60  # flush of mmu_set_spte() before mmu_lock is dropped
PREFETCH_NEXT: Final = 61  # direct_pte_prefetch(): next run of neighbours; FNAME(pte_prefetch)(): next neighbour
EMULATE: Final = 62  # the emulator is about to write on behalf of the guest
PTE_WRITE_LOCK: Final = 63  # kvm_mmu_track_write(): a guest page table was written, its SPTEs were not
PTE_WRITE_ZAP: Final = 64
PTE_WRITE_FLUSH: Final = 65
PLACEBO_EXIT: Final = 66  # exists only with the placebo-points switch
FAULT_EXIT: Final = 67  # fault handled, SRCU about to be released
FAULT_RETRY: Final = 68  # the same with RET_PF_RETRY: the guest will repeat the access

# --- aging -----------------------------------------------------------------------------------------------------
AGE_LOCK: Final = 70
AGE_SPTE: Final = 71  # before an accessed SPTE is aged
AGE_FLUSH: Final = 73  # flush of clear_flush_young(), gone with age-elides-tlb-flush
PLACEBO_AGE_FLUSH: Final = 74  # exists only with the placebo-flush switch

# --- memslot updates and dirty logging -------------------------------------------------------------------------
SLOTS_LOCK: Final = 80
SLOTS_PREPARE: Final = 81  # INVALID copy of the slot ready, waits until no notifier is between start and end
SLOTS_SRCU: Final = 82  # synchronize_srcu() after the swap
SLOTS_SWAP: Final = 83  # final swap, same wait for notifiers
SLOTS_SRCU_END: Final = 84
PML_REQUEST: Final = 85  # KVM_REQ_UPDATE_CPU_DIRTY_LOGGING posted, waits for all vCPUs
FRONT_LOCK: Final = 86  # kvm_mmu_zap_all_fast() front half, or the slot's own zap with the quirk off
FRONT_REQUEST: Final = 87  # KVM_REQ_MMU_FREE_OBSOLETE_ROOTS posted, waits for all vCPUs
FRONT_YIELD: Final = 88  # zapping obsolete shadow pages dropped mmu_lock
FRONT_FLUSH: Final = 90
BACK_LOCK: Final = 91  # kvm_tdp_mmu_zap_invalidated_roots()
BACK_RELOCK: Final = 92
BACK_ZAP: Final = 93

LOG_SPLIT_LOCK_R: Final = 101  # eager split, TDP part
SPLIT_ALLOC: Final = 102  # split walk dropped mmu_lock to allocate a table
SPLIT_LINK: Final = 103
LOG_CLEAR_LOCK_W: Final = 104  # PML: clear D, rmap part
LOG_CLEAR_W: Final = 105
LOG_CLEAR_LOCK_R: Final = 106  # PML: clear D, TDP part
LOG_CLEAR: Final = 107
LOG_PROTECT_LOCK_W: Final = 108  # remove W, rmap part
LOG_PROTECT_W: Final = 109
LOG_PROTECT_LOCK_R: Final = 110  # remove W, TDP part
LOG_PROTECT: Final = 111
LOG_ENABLE_FLUSH: Final = 112

GET_KICK: Final = 120
GET_LOCK: Final = 121
GET_WORD: Final = 122  # a bitmap word was taken, its SPTEs not yet protected
GET_SPLIT_ALLOC: Final = 123
GET_SPLIT_LINK: Final = 124
GET_PROTECT: Final = 125
GET_FLUSH: Final = 126
COLLAPSE_LOCK_W: Final = 130  # shadow part
COLLAPSE_ZAP_W: Final = 131
COLLAPSE_FLUSH_W: Final = 132
COLLAPSE_LOCK_R: Final = 133
COLLAPSE_YIELD_FLUSH: Final = 134  # only with batch-collapsible-zap-flush
COLLAPSE_RELOCK: Final = 135
COLLAPSE_ZAP: Final = 136
COLLAPSE_FROZEN: Final = 137  # only without batch-collapsible-zap-flush: entry FROZEN, flush not finished
COLLAPSE_FLUSH: Final = 138  # only with batch-collapsible-zap-flush
USER_COPY: Final = 140  # userspace copies the reported pages

# --- zap of a gfn range, NX recovery ---------------------------------------------------------------------------
RANGE_LOCK: Final = 160
RANGE_FLUSH: Final = 164

N_POINTS: Final = 170

# What an actor waits for at a point; 0: nothing.
WANT_READ: Final = 1  # mmu_lock for read
WANT_WRITE: Final = 2  # mmu_lock for write
WANT_SRCU: Final = 3  # all SRCU readers of the actor's snapshot gone
WANT_NOTIFIERS: Final = 4  # mn_active_invalidate_count == 0
WANT_SLOTS_LOCK: Final = 5
WANT_MMU: Final = 6  # read (TDP) or write (shadow)
WANT_HOST_PTE: Final = 7  # the host PTE the actor waits for is no longer busy

_WANTS: Final = {
    VCPU_UNLOAD: WANT_MMU,
    VCPU_LOAD: WANT_MMU,
    GUP_WAIT: WANT_HOST_PTE,
    MM_WAIT: WANT_HOST_PTE,
    INV_LOCK: WANT_WRITE,
    INV_END_LOCK: WANT_WRITE,
    ITER_RELOCK_W: WANT_WRITE,
    ITER_RELOCK_R: WANT_READ,
    FAULT_LOCK_R: WANT_READ,
    FAULT_LOCK_W: WANT_WRITE,
    AGE_LOCK: WANT_WRITE,
    SLOTS_LOCK: WANT_SLOTS_LOCK,
    SLOTS_PREPARE: WANT_NOTIFIERS,
    SLOTS_SRCU: WANT_SRCU,
    SLOTS_SWAP: WANT_NOTIFIERS,
    SLOTS_SRCU_END: WANT_SRCU,
    FRONT_LOCK: WANT_WRITE,
    FRONT_YIELD: WANT_WRITE,
    BACK_LOCK: WANT_READ,
    BACK_RELOCK: WANT_READ,
    LOG_SPLIT_LOCK_R: WANT_READ,
    SPLIT_ALLOC: WANT_READ,
    GET_SPLIT_ALLOC: WANT_WRITE,
    LOG_CLEAR_LOCK_W: WANT_WRITE,
    LOG_CLEAR_LOCK_R: WANT_READ,
    LOG_PROTECT_LOCK_W: WANT_WRITE,
    LOG_PROTECT_LOCK_R: WANT_READ,
    GET_LOCK: WANT_WRITE,
    COLLAPSE_LOCK_W: WANT_WRITE,
    COLLAPSE_LOCK_R: WANT_READ,
    COLLAPSE_RELOCK: WANT_READ,
    SYNC_LOCK: WANT_WRITE,
    TRACK_LOCK: WANT_WRITE,
    PTE_WRITE_LOCK: WANT_WRITE,
    RANGE_LOCK: WANT_WRITE,
}

# Points that exist only with (True) or only without (False) a patch.
PRIVATE: Final = {
    MAP_WARN_FLUSH: ("tdp-fault-warn-flush-mmuw", True),
    AGE_FLUSH: ("age-elides-tlb-flush", False),
    COLLAPSE_YIELD_FLUSH: ("batch-collapsible-zap-flush", True),
    COLLAPSE_FROZEN: ("batch-collapsible-zap-flush", False),
    COLLAPSE_FLUSH: ("batch-collapsible-zap-flush", True),
    PLACEBO_FAULT: ("placebo-points", True),
    PLACEBO_EXIT: ("placebo-points", True),
    PLACEBO_AGE_FLUSH: ("placebo-flush", True),
}

# Points at which a long walk has given up mmu_lock, to those who wait for it or in order to sleep.
BREAKS: Final = (
    ITER_RELOCK_W,
    ITER_RELOCK_R,
    FRONT_YIELD,
    BACK_RELOCK,
    SPLIT_ALLOC,
    GET_SPLIT_ALLOC,
    COLLAPSE_RELOCK,
)


def _by_point(values: dict[int, int]) -> vec[i64]:
    """The value of each point, 0 for one that has none."""
    by_point: vec[i64] = vec[i64]([0] * N_POINTS)
    for point, value in values.items():
        by_point[point] = value
    return by_point


WANTS: Final[vec[i64]] = _by_point(_WANTS)
IS_BREAK: Final[vec[i64]] = _by_point(dict.fromkeys(BREAKS, 1))


def _names() -> list[str]:
    names = [""] * N_POINTS
    for name, value in globals().items():
        if isinstance(value, int) and name.isupper() and name != "N_POINTS" and not name.startswith(("WANT_", "_")):
            subject, _, rest = name.lower().partition("_")
            names[value] = f"{subject}.{rest}" if rest else subject
    return names


NAMES: Final[list[str]] = _names()
NUMBERS: Final[dict[str, int]] = {name: point for point, name in enumerate(NAMES) if name}
