# SPDX-License-Identifier: GPL-2.0-only
"""Preemption points: where another CPU may run, and those of the common code of mm/ and virt/kvm/.

A flow yields the number of a point.  Each architecture has a table of its own (x86/points.py) in which the points stand
in the order in which flows reach them, inlined helpers included; a point's place there is its *rank*.  So two models
that run the same operation can be compared by (operation, lap, rank) even when one of them has points that the other
lacks.  A lap ends when the rank does not grow, i.e. when a loop came round.

Numbers are names and no order: a new point takes any that is free in its table, and stays below 256.  CPython does not
allocate such integers, so yielding one is free, and the fuzzer keeps a point in a byte (fuzzer.schedule.turns,
fuzzer.run.coverage).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

N_POINTS: Final = 256
END: Final = 0  # no point: where an actor stands between two operations

# What an actor waits for at a point; 0: nothing.
WANT_READ: Final = 1  # mmu_lock for read
WANT_WRITE: Final = 2  # mmu_lock for write
WANT_SRCU: Final = 3  # all SRCU readers of the actor's snapshot gone
WANT_NOTIFIERS: Final = 4  # mn_active_invalidate_count == 0
WANT_SLOTS_LOCK: Final = 5
WANT_MMU: Final = 6  # what loading or dropping a root takes: Kvm.can_lock_mmu()
WANT_HOST_PTE: Final = 7  # a fault on the page the actor waits for has no more to wait
WANT_MMAP_READ: Final = 8  # mmap_lock for read
WANT_MMAP_WRITE: Final = 9  # mmap_lock for write
WANT_FOLIO: Final = 10  # the page the actor waits for is neither busy nor locked
WANT_FILEMAP: Final = 11  # filemap_invalidate_lock() of the guest_memfd


class Point(NamedTuple):
    """A row of a table. `function` is the kernel's; `about` says what has just happened there, or comes next. `patch`:
    the point exists only with (`with_patch`) or only without it. `is_extra`: it lies before something that only this
    side does, and nothing else has been done since the point before. `is_break`: a long walk has given up mmu_lock
    there, to those who wait for it or in order to sleep."""

    number: int
    name: str
    function: str
    about: str
    wants: int = 0
    patch: str = ""
    with_patch: bool = True
    is_extra: bool = False
    is_break: bool = False

    def exists(self, patches: frozenset[str]) -> bool:
        """Is there such a point with these patches?"""
        return not self.patch or (self.patch in patches) == self.with_patch


@mypyc_attr(acyclic=True)
class PointTable:
    """The points of an architecture by number: `ranks` counts from 1, `wants` is WANT_*, `breaks` and `extras` are 1
    for what Point calls is_break and is_extra. Raises ValueError for a number or a name that stands twice."""

    def __init__(self, points: Iterable[Point]) -> None:
        self.points = tuple(points)
        self.ranks: vec[i64] = vec[i64]([0] * N_POINTS)
        self.wants: vec[i64] = vec[i64]([0] * N_POINTS)
        self.breaks: vec[i64] = vec[i64]([0] * N_POINTS)
        self.extras: vec[i64] = vec[i64]([0] * N_POINTS)
        self.names: list[str] = [""] * N_POINTS
        self.places: list[str] = [""] * N_POINTS
        self.numbers: dict[str, int] = {}
        for rank, point in enumerate(self.points, 1):
            if self.names[point.number] or point.name in self.numbers or not 0 < point.number < N_POINTS:
                raise ValueError(f"point {point.number} '{point.name}' has a number or a name that is not its own")
            self.ranks[point.number] = rank
            self.wants[point.number] = point.wants
            self.breaks[point.number] = int(point.is_break)
            self.extras[point.number] = int(point.is_extra)
            self.names[point.number] = point.name
            self.places[point.number] = f"{point.function}: {point.about}"
            self.numbers[point.name] = point.number


# --- page faults: what every architecture has ------------------------------------------------------------------------
FAULT_ENTER: Final = 8
FAULT_RETRY: Final = 68

FAULT_BEGINS: Final = Point(FAULT_ENTER, "fault.enter", "kvm_mmu_page_fault", "VM exit taken, SRCU held")
FAULT_IS_RETRIED: Final = Point(
    FAULT_RETRY, "fault.retry", "kvm_mmu_page_fault", "the fault ends with RETRY, the guest repeats the access"
)

# --- the primary MMU -------------------------------------------------------------------------------------------------
GUP_WAIT: Final = 15
GUP_FAULT: Final = 16
GUP_HWPOISON: Final = 17
MM_WAIT: Final = 19
MMAP_READ: Final = 180
MMAP_WRITE: Final = 181

GUP: Final = (
    Point(GUP_WAIT, "gup.wait", "migration_entry_wait", "the host PTE is busy or its page locked", wants=WANT_HOST_PTE),
    Point(GUP_FAULT, "gup.fault", "faultin_page", "GUP-fast has failed, the host's own page fault comes next"),
    Point(
        GUP_HWPOISON,
        "gup.hwpoison",
        "check_user_page_hwpoison",
        "GUP has failed, it is asked again whether the page is poisoned",
        patch="gup-drop-extra-hwpoison-gup",
        with_patch=False,
        is_extra=True,
    ),
)
MM: Final = (
    Point(MMAP_READ, "mmap.read", "mmap_read_lock", "somebody changes VMAs", wants=WANT_MMAP_READ),
    Point(MMAP_WRITE, "mmap.write", "mmap_write_lock", "VMAs are to be changed, or copied", wants=WANT_MMAP_WRITE),
    Point(MM_WAIT, "mm.wait", "folio_lock", "a page of the range is locked or busy", wants=WANT_FOLIO),
)

# --- guest memory that KVM maps for itself ---------------------------------------------------------------------------
MAP_USE: Final = 200
MAP_UNMAP: Final = 201
GPC_LOOKUP: Final = 204
GPC_CHECK: Final = 205

KERNEL_MAPS: Final = (
    Point(MAP_USE, "map.use", "kvm_vcpu_map", "the page is mapped for KVM, which reads or writes it next"),
    Point(MAP_UNMAP, "map.unmap", "kvm_vcpu_unmap", "KVM is done with the page, it is unmapped and let go of next"),
)
CACHES: Final = (
    # While an invalidation is active every look-up is stale, and repeated at once.
    Point(
        GPC_LOOKUP,
        "gpc.lookup",
        "hva_to_pfn_retry",
        "gpc->lock dropped, the snapshot and the look-up come next",
        wants=WANT_NOTIFIERS,
    ),
)
CACHES_END: Final = (
    Point(GPC_CHECK, "gpc.check", "hva_to_pfn_retry", "the page is in hand, gpc->lock and the stale check come next"),
)

# --- guest_memfd -----------------------------------------------------------------------------------------------------
GMEM_PREPARE: Final = 230
GMEM_HOLE: Final = 231
GMEM_ERROR: Final = 241
GMEM_LOCK: Final = 232
GMEM_FLUSH: Final = 233
GMEM_TRUNCATE: Final = 234
GMEM_END_LOCK: Final = 235
GMEM_BIND: Final = 236
ATTR_LOCK: Final = 237
ATTR_FLUSH: Final = 238
ATTR_STORE: Final = 239
ATTR_END_LOCK: Final = 240

_HOLE: Final = "kvm_gmem_punch_hole"
_ATTRIBUTES: Final = "kvm_vm_set_mem_attributes"
GMEM_START: Final = (
    Point(GMEM_PREPARE, "gmem.prepare", "kvm_gmem_get_pfn", "the page of the file is locked, it is prepared next"),
    Point(GMEM_HOLE, "gmem.hole", _HOLE, "a hole is to be punched into the guest_memfd", wants=WANT_FILEMAP),
    Point(GMEM_ERROR, "gmem.error", "kvm_gmem_error_folio", "a locked folio has an error", wants=WANT_FILEMAP),
    Point(GMEM_LOCK, "gmem.lock", "kvm_gmem_invalidate_begin", "memslots are bound to the range", wants=WANT_WRITE),
)
GMEM_END: Final = (
    Point(GMEM_FLUSH, "gmem.flush", "kvm_gmem_invalidate_begin", "SPTEs were zapped, flush requests posted"),
    Point(GMEM_TRUNCATE, "gmem.truncate", _HOLE, "nobody maps the range, a page is taken out of the file next"),
    Point(GMEM_END_LOCK, "gmem.end_lock", "kvm_gmem_invalidate_end", "the hole is punched", wants=WANT_WRITE),
)
ATTRIBUTES: Final = (
    Point(
        GMEM_BIND, "gmem.bind", "kvm_gmem_bind", "a memslot is to be bound to the file, or unbound", wants=WANT_FILEMAP
    ),
    Point(ATTR_LOCK, "attr.lock", _ATTRIBUTES, "some gfn of the range has the other attribute", wants=WANT_WRITE),
    Point(ATTR_FLUSH, "attr.flush", _ATTRIBUTES, "SPTEs were zapped, flush requests posted"),
    Point(ATTR_STORE, "attr.store", _ATTRIBUTES, "nobody maps the range, the attributes are stored next"),
    Point(ATTR_END_LOCK, "attr.end_lock", _ATTRIBUTES, "the attributes are stored", wants=WANT_WRITE),
)

# --- mmu_notifier invalidation: an operation of its own, or inside GUP when that breaks CoW --------------------------
INV_ACTIVE: Final = 20
INV_LOCK: Final = 21
INV_FLUSH: Final = 27
INV_PRIMARY: Final = 28
INV_CLEAN: Final = 29
INV_END_LOCK: Final = 30
INV_IO: Final = 31
SPLIT_FREEZE: Final = 182
RECLAIM_WRITE: Final = 183
RECLAIM_FREE: Final = 184
TRUNCATE_FOLIO: Final = 185
KSM_COMPARE: Final = 186
KHUGEPAGED_ISOLATE: Final = 187
KHUGEPAGED_COPY: Final = 188
POISON_DROP: Final = 189

_START: Final = "kvm_mmu_notifier_invalidate_range_start"
_END: Final = "kvm_mmu_notifier_invalidate_range_end"
INVALIDATION_START: Final = (
    Point(INV_ACTIVE, "inv.active", _START, "entered, mn_active_invalidate_count is raised next"),
    Point(INV_LOCK, "inv.lock", _START, "counted as active, mmu_lock comes next", wants=WANT_WRITE),
)
# What the host does between and after invalidations, in no order among each other.
HOST: Final = (
    Point(SPLIT_FREEZE, "split.freeze", "split_huge_page_to_list_to_order", "unmapped, the count is frozen next"),
    Point(RECLAIM_WRITE, "reclaim.write", "pageout", "the page is unmapped and dirty, it is written out next"),
    Point(RECLAIM_FREE, "reclaim.free", "__remove_mapping", "clean and unmapped, the count is frozen next"),
    Point(TRUNCATE_FOLIO, "truncate.folio", "truncate_cleanup_folio", "locked and unmapped, it is dropped next"),
    Point(KSM_COMPARE, "ksm.compare", "try_to_merge_one_page", "write-protected, the contents are compared next"),
    Point(KHUGEPAGED_ISOLATE, "khugepaged.isolate", "collapse_huge_page", "the PMD is gone, the pages are locked next"),
    Point(KHUGEPAGED_COPY, "khugepaged.copy", "__collapse_huge_page_copy", "locked and unmapped, copied next"),
    Point(POISON_DROP, "poison.drop", "identify_page_state", "unmapped for good, it is taken out of the cache next"),
)
INVALIDATION_END: Final = (
    Point(INV_FLUSH, "inv.flush", _START, "SPTEs were zapped, flush requests posted"),
    Point(INV_PRIMARY, "inv.primary", _START, "returned, the primary MMU may change its PTEs"),
    Point(INV_CLEAN, "inv.clean", "shrink_folio_list", "host PTEs gone, page not yet written out, copied or freed"),
    Point(INV_END_LOCK, "inv.end_lock", _END, "the host PTEs have changed, mmu_lock comes next", wants=WANT_WRITE),
    Point(INV_IO, "inv.io", "shrink_folio_list", "the invalidation has ended, the page is written or freed next"),
    *HOST,
)

# --- aging -----------------------------------------------------------------------------------------------------------
AGE_LOCK: Final = 70
AGE_FLUSH: Final = 73
PLACEBO_AGE_FLUSH: Final = 74

_AGING: Final = "kvm_handle_hva_range"
AGING_START: Final = (Point(AGE_LOCK, "age.lock", _AGING, "memslots are known, mmu_lock comes next", wants=WANT_WRITE),)
_YOUNG: Final = "a page was young, flush requests posted"
_PLACEBO: Final = Point(
    PLACEBO_AGE_FLUSH, "placebo.age_flush", _AGING, "a flush that only the placebo has", patch="placebo-flush"
)
AGING_END: Final = (
    Point(AGE_FLUSH, "age.flush", _AGING, _YOUNG, patch="age-elides-tlb-flush", with_patch=False),
    _PLACEBO,
)
"""Where the architecture selects KVM_ELIDE_TLB_FLUSH_IF_YOUNG."""
AGING_ENDS_FLUSHED: Final = (Point(AGE_FLUSH, "age.flush", _AGING, _YOUNG), _PLACEBO)
"""Where it does not."""

# --- memslot updates -------------------------------------------------------------------------------------------------
SLOTS_LOCK: Final = 80
SLOTS_PREPARE: Final = 81
SLOTS_SRCU: Final = 82
SLOTS_SWAP: Final = 83
SLOTS_SRCU_END: Final = 84

_SWAP: Final = "kvm_swap_active_memslots"
MEMSLOTS: Final = (
    Point(SLOTS_LOCK, "slots.lock", "kvm_vm_ioctl", "an ioctl about a slot begins", wants=WANT_SLOTS_LOCK),
    Point(SLOTS_PREPARE, "slots.prepare", _SWAP, "an INVALID copy is to be installed", wants=WANT_NOTIFIERS),
    Point(SLOTS_SRCU, "slots.srcu", _SWAP, "the changed copy is active, readers have the old one", wants=WANT_SRCU),
    Point(SLOTS_SWAP, "slots.swap", _SWAP, "the new slot is to be installed", wants=WANT_NOTIFIERS),
    Point(SLOTS_SRCU_END, "slots.srcu_end", _SWAP, "the new slot is active, readers have the old", wants=WANT_SRCU),
)

# --- the dirty log ---------------------------------------------------------------------------------------------------
GET_LOCK: Final = 121
GET_WORD: Final = 122
GET_FLUSH: Final = 126
GET_COPY: Final = 127
USER_COPY: Final = 140

_GET: Final = "kvm_get_dirty_log_protect"
HARVEST_START: Final = (
    Point(GET_LOCK, "get.lock", _GET, "what hardware logs is on its way, mmu_lock comes next", wants=WANT_WRITE),
    Point(GET_WORD, "get.word", _GET, "a word of the bitmap was taken, its SPTEs are not yet protected"),
)
HARVEST_END: Final = (
    Point(GET_FLUSH, "get.flush", _GET, "bits were taken, flush requests posted"),
    Point(GET_COPY, "get.copy", _GET, "a word of the bitmap was copied, and stays as it is; the next one comes next"),
)
COPYING: Final = (Point(USER_COPY, "user.copy", "userspace", "the ioctl has returned, the reported pages are copied"),)
