# SPDX-License-Identifier: GPL-2.0-only
"""Operations by number: what actors are asked to do.

The numbers are an affair of the process that runs them: what is stored and shown names operations.  Which flow of the
model an operation is, is the architecture's: x86/operations.py.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

READ: Final = 0
WRITE: Final = 1
PREFETCH: Final = 2
NESTED: Final = 3
WRITE_PTE: Final = 4
INVLPG: Final = 5
LOAD_CR3: Final = 6
CLEAR_FLUSH_YOUNG: Final = 7
CLEAR_YOUNG: Final = 8
TEST_YOUNG: Final = 9
NUMA_HINT: Final = 10
MIGRATE: Final = 11
RECLAIM: Final = 12
WRITEBACK: Final = 13
SHARE: Final = 14
DISCARD: Final = 15
COLLAPSE_HUGE: Final = 16
PAGE_OUT: Final = 17
POPULATE: Final = 18
TRUNCATE: Final = 19
FORK: Final = 20
KSM_MERGE: Final = 21
POISON: Final = 22
MUNMAP: Final = 23
MMAP: Final = 24
MPROTECT: Final = 25
DONT_NEED: Final = 26
COLLAPSE: Final = 27
ENABLE_LOG: Final = 28
GET_LOG: Final = 29
CLEAR_LOG: Final = 30
DISABLE_LOG: Final = 31
DELETE_SLOT: Final = 32
CREATE_SLOT: Final = 33
MOVE_SLOT: Final = 34
TRACK: Final = 35
UNTRACK: Final = 36
ZAP_RANGE: Final = 37
MAP_PAGE: Final = 38
PATCH_DCBZ: Final = 39
SHARE_PAGE: Final = 40
RUN_L2: Final = 41
REFRESH_CACHE: Final = 42
RUN_VSIE: Final = 43
CREATE_LAPIC: Final = 44
ACCESS_APIC: Final = 45
PUNCH_HOLE: Final = 46
SET_ATTRIBUTES: Final = 47
COPY_TAGS: Final = 48
FETCH: Final = 49
POISON_PRIVATE: Final = 50


# The entry that WRITE_PTE stores, as its argument: the frame it points to, counted from 1, and its rights. 0 for the
# frame: not present, whatever the rights.
STORED_WRITABLE: Final[i64] = 1
STORED_EXECUTABLE: Final[i64] = 2
STORED_ACCESSED: Final[i64] = 4
STORED_DIRTY: Final[i64] = 8
STORED_SHIFT: Final[i64] = 4


# Call.resched: bit n says that need_resched() is true in region n, once; with this one it stays so, as long as somebody
# waits.
RESCHED_LASTS: Final[i64] = 1 << 32

# What may go wrong around an operation at any time: Call.mishaps, and Mm.mishaps while it runs.
MISHAP_SIGNAL: Final[i64] = 1  # a signal is pending: a wait that it may interrupt ends with -EINTR
MISHAP_KILLED: Final[i64] = 2  # killed while waiting for mmap_lock in GUP, every time anew: -EAGAIN
MISHAP_KILLED_NOWAIT: Final[i64] = 4  # the same in a GUP with FOLL_NOWAIT; a later one gets mmap_lock, then -EINTR
MISHAP_NO_MEMORY: Final[i64] = 8  # there is no page for a page table, a guest_memfd, the APIC: -ENOMEM
MISHAP_GARBAGE: Final[i64] = 16  # what a variable on the stack holds that nobody has set is true
MISHAP_NO_SEGMENT: Final[i64] = 32  # PR mode of powerpc finds no segment that it could map
MISHAP_LOCK_WANTED: Final[i64] = 64  # need_resched(), or somebody waits for mmu_lock, between portions of unsync pages

MISHAPS: Final[dict[str, int]] = {
    "signal": 1,
    "killed": 2,
    "killed_nowait": 4,
    "no_memory": 8,
    "garbage": 16,
    "no_segment": 32,
    "lock_wanted": 64,
}
"""The same by the names of the fields in programs (fuzzer/program/ops.py)."""


@mypyc_attr(acyclic=True)
class Call:
    """One operation: what kind it is, up to three arguments (of WRITE_PTE the third is an entry, STORED_*), the regions
    at which need_resched() is true while it walks page tables, and MISHAP_*. `uid` names it for ever."""

    def __init__(
        self, uid: i64, kind: i64, a: i64 = 0, b: i64 = 0, c: i64 = 0, resched: i64 = 0, mishaps: i64 = 0
    ) -> None:
        self.uid = uid
        self.kind = kind
        self.a = a
        self.b = b
        self.c = c
        self.resched = resched
        self.mishaps = mishaps
