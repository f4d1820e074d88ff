# SPDX-License-Identifier: GPL-2.0-only
"""Which flow each operation is that every architecture has: those of the primary MMU, of memslots, of the dirty
log, and of memory that KVM maps for itself."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..mm.fork import dup_mmap
from ..mm.khugepaged import collapse_block, collapse_huge_page
from ..mm.ksm import share_page, try_to_merge_with_ksm_page
from ..mm.madvise import discard, madvise_dontneed, madvise_populate
from ..mm.memory_failure import memory_failure
from ..mm.migrate import migrate_page
from ..mm.mmap import mmap_fixed, munmap
from ..mm.mprotect import change_protection_numa, mprotect
from ..mm.page_writeback import writeback
from ..mm.truncate import truncate_pagecache_range
from ..mm.vmscan import shrink_folio, shrink_folio_list
from ..operations import (
    CLEAR_FLUSH_YOUNG,
    CLEAR_LOG,
    CLEAR_YOUNG,
    COLLAPSE,
    COLLAPSE_HUGE,
    CREATE_SLOT,
    DELETE_SLOT,
    DISABLE_LOG,
    DISCARD,
    DONT_NEED,
    ENABLE_LOG,
    FORK,
    GET_LOG,
    KSM_MERGE,
    MAP_PAGE,
    MIGRATE,
    MMAP,
    MOVE_SLOT,
    MPROTECT,
    MUNMAP,
    NUMA_HINT,
    PAGE_OUT,
    POISON,
    POPULATE,
    RECLAIM,
    SHARE,
    TEST_YOUNG,
    TRUNCATE,
    WRITEBACK,
    Call,
)
from .dirty_log import (
    disable_dirty_log,
    enable_dirty_log,
    kvm_clear_dirty_log_protect,
    kvm_get_dirty_log_protect,
)
from .kvm import Kvm
from .memslot_update import kvm_create_memslot, kvm_delete_memslot, kvm_move_memslot
from .mmu_notifier import (
    kvm_mmu_notifier_clear_flush_young,
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_test_young,
)
from .vcpu_map import vcpu_map_page


class NoSuchOperation(ValueError):
    """An operation that the architecture does not have."""


def start_common_operation(kvm: Kvm, call: Call) -> Generator[int, None, object]:
    """Make the flow of an operation. Raises NoSuchOperation."""
    kind, a, b, c = call.kind, call.a, call.b, call.c
    if kind == ENABLE_LOG:
        return enable_dirty_log(kvm, a)
    if kind == GET_LOG:
        return kvm_get_dirty_log_protect(kvm, a)
    if kind == CLEAR_LOG:
        return kvm_clear_dirty_log_protect(kvm, a, b, c)
    if kind == DISABLE_LOG:
        return disable_dirty_log(kvm, a)
    if kind == DELETE_SLOT:
        return kvm_delete_memslot(kvm, a)
    if kind == CREATE_SLOT:
        return kvm_create_memslot(kvm, a)
    if kind == MOVE_SLOT:
        return kvm_move_memslot(kvm, a, b)
    if kind == MAP_PAGE:
        return vcpu_map_page(kvm, a, b != 0)
    return _start_mm_operation(kvm, kind, a, b)


def _start_mm_operation(kvm: Kvm, kind: i64, hva: i64, npages: i64) -> Generator[int, None, object]:
    if kind == CLEAR_FLUSH_YOUNG:
        return kvm_mmu_notifier_clear_flush_young(kvm, hva, hva + npages)
    if kind == CLEAR_YOUNG:
        return kvm_mmu_notifier_clear_young(kvm, hva, hva + npages)
    if kind == TEST_YOUNG:
        return kvm_mmu_notifier_test_young(kvm, hva)
    if kind == NUMA_HINT:
        return change_protection_numa(kvm, hva, hva + npages)
    if kind == MIGRATE:
        return migrate_page(kvm, hva)
    if kind == RECLAIM:
        return shrink_folio(kvm, hva)
    if kind == WRITEBACK:
        return writeback(kvm, hva)
    if kind == SHARE:
        return share_page(kvm, hva)
    if kind == DISCARD:
        return discard(kvm, hva, hva + npages)
    if kind == COLLAPSE_HUGE:
        return collapse_block(kvm, hva)
    return _start_host_operation(kvm, kind, hva, npages)


def _start_host_operation(kvm: Kvm, kind: i64, hva: i64, argument: i64) -> Generator[int, None, object]:
    """Those that take mmap_lock and the locks of pages; `argument`: a number of pages, or whether to write."""
    if kind == PAGE_OUT:
        return shrink_folio_list(kvm, hva)
    if kind == POPULATE:
        return madvise_populate(kvm, hva, argument != 0)
    if kind == TRUNCATE:
        return truncate_pagecache_range(kvm, hva, hva + argument)
    if kind == FORK:
        return dup_mmap(kvm)
    if kind == KSM_MERGE:
        return try_to_merge_with_ksm_page(kvm, hva)
    if kind == POISON:
        return memory_failure(kvm, hva)
    if kind == MUNMAP:
        return munmap(kvm, hva)
    if kind == MMAP:
        return mmap_fixed(kvm, hva)
    if kind == MPROTECT:
        return mprotect(kvm, hva, argument != 0)
    if kind == DONT_NEED:
        return madvise_dontneed(kvm, hva, hva + argument)
    if kind == COLLAPSE:
        return collapse_huge_page(kvm, hva)
    raise NoSuchOperation(f"operation {kind}")
