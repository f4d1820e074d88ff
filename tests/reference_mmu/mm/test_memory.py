# SPDX-License-Identifier: GPL-2.0-only
"""Faults of the process: what is mapped, with which rights, and who is told."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.fork import dup_mmap
from reference_mmu.mm.host import HOST_D, HOST_SHARED, HOST_W, PTE_EMPTY, PTE_NONE, PTE_SWAP
from reference_mmu.mm.madvise import madvise_dontneed, madvise_populate
from reference_mmu.mm.memory import do_pte_missing, do_swap_page, do_wp_page_copy, needs_io, unshare_page
from reference_mmu.mm.vmscan import shrink_folio_list
from reference_mmu.observed import PF_RETRY
from reference_mmu.points import (
    FAULT_RETRY,
    GUP_FAULT,
    GUP_WAIT,
    INV_LOCK,
    INV_PRIMARY,
    MMAP_READ,
    MMAP_WRITE,
    RECLAIM_FREE,
)
from tests.by_hand import DEVICE, MM, Stage
from tests.host_memory import Memory
from tests.notified import pair, record_notifiers


@pytest.mark.parametrize(
    ("kind", "read"),
    [("anon", 0), ("swapped", HOST_W), ("file", 0), ("shmem", HOST_W), ("hugetlb", HOST_W), ("untouched", HOST_SHARED)],
)
def test_a_read_gets_the_rights_that_need_no_notice(kind: str, read: int) -> None:
    for write, flags in ((False, read), (True, HOST_W | HOST_D)):
        memory = Memory(kind)
        if memory.m.host.pte[0] >= 0:
            memory.m.host.clear_pte(0, PTE_NONE)
        do_swap_page(memory.m, 0, write)
        assert memory.m.host.flags[0] == flags


def test_who_reads_what_nobody_has_touched_gets_the_zero_page() -> None:
    memory = Memory("untouched")
    do_swap_page(memory.m, 0, False)
    page = memory.page()
    assert (page.zero, page.reserved, page.data, page.refcount) == (True, True, 0, 2)


def test_there_is_no_zero_page_where_something_was_written() -> None:
    memory = Memory("untouched")
    memory.m.host.swap[0] = 5
    do_swap_page(memory.m, 0, False)
    assert (memory.page().zero, memory.page().data, memory.m.host.flags[0]) == (False, 5, 0)
    memory.m.host.swap[1] = 0
    do_swap_page(memory.m, 1, True)
    assert not memory.page(1).zero


@pytest.mark.parametrize(
    ("pte", "in_cache", "expected"),
    [(PTE_SWAP, False, True), (PTE_SWAP, True, False), (PTE_NONE, False, False), (PTE_NONE, True, False)],
)
def test_io_is_needed_for_what_neither_cache_has(pte: int, in_cache: bool, expected: bool) -> None:
    memory = Memory("anon")
    pfn = memory.m.host.clear_pte(0, pte)
    if in_cache:
        memory.m.host.swap_cache[0] = pfn
    assert needs_io(memory.m, 0) == expected


def test_what_is_still_cached_is_the_same_page() -> None:
    memory = Memory("anon")
    pfn = memory.m.host.clear_pte(0, PTE_SWAP)
    memory.m.host.swap_cache[0] = pfn
    do_swap_page(memory.m, 0, False)
    assert (memory.m.host.pte[0], memory.page().refcount, memory.m.host.swap_cache[0]) == (pfn, 1, -1)


@pytest.mark.parametrize(
    "kind", ["pfnmap-nostruct", "pfnmap-refcounted", "pfnmap-unrefcounted", "pfnmap-reserved", "fsdax"]
)
def test_a_page_that_comes_later_is_of_its_kind(kind: str) -> None:
    memory = Memory(kind)
    memory.m.host.clear_pte(0, PTE_NONE)
    do_swap_page(memory.m, 0, False)
    late, early = (memory.m.host.pages[memory.m.host.pte[hva]] for hva in (0, 1))
    for field in ("has_struct", "reserved", "zone_device", "refcount"):
        assert getattr(late, field) == getattr(early, field)


@pytest.mark.parametrize(("write", "flags"), [(False, HOST_SHARED), (True, HOST_W | HOST_D)])
def test_what_was_thrown_away_is_zero_whatever_anonymous_memory_it_is(write: bool, flags: int) -> None:
    memory = Memory("anon")
    memory.m.host.clear_pte(0, PTE_EMPTY)
    do_pte_missing(memory.m, 0, write)
    assert (memory.page().zero, memory.page().data, memory.m.host.flags[0]) == (not write, 0, flags)


# --- copy-on-write ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copy", "flags"), [(do_wp_page_copy, HOST_W | HOST_D), (unshare_page, 0)])
def test_a_copy_replaces_the_page_between_start_and_end(copy: object, flags: int) -> None:
    assert callable(copy)
    memory = Memory("cow")
    shared = memory.page()
    shared.data = 9
    seq = int(memory.m.mmu_invalidate_seq)
    thread = memory.thread(MM, copy(memory.m, 0)).to(INV_LOCK)
    assert memory.page() is shared
    thread.finish()
    assert memory.page() is not shared
    assert (memory.page().data, memory.m.host.flags[0], shared.refcount) == (9, flags, 1)
    assert (memory.m.mmu_invalidate_seq, memory.m.mn_active_invalidate_count) == (seq + 1, 0)


def test_of_two_who_copy_the_second_finds_it_done() -> None:
    memory = Memory("cow")
    late = memory.thread(DEVICE, do_wp_page_copy(memory.m, 0)).to(INV_LOCK)
    memory.run(MM, do_wp_page_copy(memory.m, 0))
    pfn = int(memory.m.host.pte[0])
    late.finish()
    assert (memory.m.host.pte[0], memory.page().refcount) == (pfn, 1)


# --- as vCPUs meet with it -------------------------------------------------------------------------------------------


def test_a_read_of_untouched_memory_maps_the_zero_page(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("untouched", "anon"))
    host = stage.m.host
    stage.read(0, 1)
    zero = int(host.pte[1])
    assert (host.pages[zero].zero, int(host.flags[1])) == (True, HOST_SHARED)
    assert stage.final_violations() == []


def test_a_write_replaces_the_zero_page_and_makes_itself_stale(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("untouched", "anon"))
    stage.read(0, 1)
    zero = int(stage.m.host.pte[1])
    calls = record_notifiers(stage)
    writer = stage.write(0, 1)
    assert calls == pair(1, 2)
    assert FAULT_RETRY in writer.points
    assert writer.faults[0] == PF_RETRY
    assert int(stage.m.host.pte[1]) != zero
    assert not stage.m.host.pages[zero].freed
    assert (int(stage.m.host.pages[zero].data), int(stage.m.host.contents(1))) == (0, writer.uid + 1)
    assert stage.final_violations() == []


def test_a_write_to_untouched_memory_needs_no_copy(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("untouched", "anon"))
    calls = record_notifiers(stage)
    stage.write(0, 1)
    assert calls == []
    assert int(stage.m.host.flags[1]) == HOST_W | HOST_D


def test_a_read_of_an_exclusive_page_in_swap_maps_it_writable(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("swapped", "anon"))
    stage.run(MM, madvise_populate(stage.m, 1, False))
    assert int(stage.m.host.flags[1]) == HOST_W
    assert stage.final_violations() == []


def test_a_page_in_swap_that_a_child_has_stays_read_only(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("swapped", "anon"))
    stage.run(MM, dup_mmap(stage.m))
    stage.read(0, 1)
    shared = int(stage.m.host.pte[1])
    assert int(stage.m.host.flags[1]) == HOST_SHARED
    stage.write(0, 1)
    assert int(stage.m.host.pte[1]) != shared
    assert not stage.m.host.pages[shared].freed
    assert stage.final_violations() == []


def test_a_page_that_turns_out_to_be_exclusive_is_not_copied(stage: Stage) -> None:
    """As after KSM has given up, or the child has ended."""
    host = stage.m.host
    before = int(host.pte[1])
    host.flags[1] = HOST_SHARED
    calls = record_notifiers(stage)
    stage.write(0, 1)
    assert calls == []
    assert (int(host.pte[1]), int(host.flags[1])) == (before, HOST_W | HOST_D)


def test_a_shared_huge_page_is_split_and_one_page_copied(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.run(MM, dup_mmap(stage.m))
    before = [int(pfn) for pfn in stage.m.host.pte]
    calls = record_notifiers(stage)
    stage.write(0, 1)
    assert calls == [*pair(0, 4), *pair(1, 2)]
    assert [hva for hva in range(8) if stage.m.host.pte[hva] != before[hva]] == [1]
    assert stage.m.host.huge == [False, False]
    assert stage.final_violations() == []


def test_nothing_is_copied_into_a_huge_page_that_has_come_meanwhile(semantics: Semantics) -> None:
    """The page that a write wanted to copy is thrown away with its block, and a read maps the huge zero page."""
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.run(MM, dup_mmap(stage.m))
    writer = stage.access(0, 1, write=True).to(GUP_FAULT)
    writer.to(INV_PRIMARY).to(INV_PRIMARY)  # of the split, and of the copy
    stage.run(MM, madvise_dontneed(stage.m, 0, 4))
    stage.run(DEVICE, madvise_populate(stage.m, 2, False))
    writer.finish()
    assert stage.m.host.huge == [False, False]  # split once more, for a copy of zeroes
    assert [int(stage.m.host.contents(hva)) for hva in range(4)] == [0, writer.uid + 1, 0, 0]
    assert stage.final_violations() == []


def test_a_fault_waits_for_the_lock_of_a_page_in_the_swap_cache(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("shmem", "anon"))
    before = int(stage.m.host.pte[1])
    reclaim = stage.thread(MM, shrink_folio_list(stage.m, 1)).to(RECLAIM_FREE)
    reader = stage.access(0, 1).to(GUP_WAIT)
    assert not reader.can_run()
    reclaim.finish()
    reader.finish()
    assert int(stage.m.host.pte[1]) != before
    assert stage.final_violations() == []


def test_a_fault_waits_for_whoever_changes_vmas(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("untouched", "anon"))
    reader = stage.access(0, 1).to(GUP_FAULT)
    fork = stage.thread(MM, dup_mmap(stage.m)).to(MMAP_WRITE).to(INV_PRIMARY)
    reader.to(MMAP_READ)
    assert not reader.can_run()
    fork.finish()
    reader.finish()
    assert stage.final_violations() == []


def test_who_changes_vmas_waits_for_readers_of_the_lock(stage: Stage) -> None:
    zap = stage.thread(MM, madvise_dontneed(stage.m, 1, 2)).to(INV_PRIMARY)
    fork = stage.thread(DEVICE, dup_mmap(stage.m)).to(MMAP_WRITE)
    assert not fork.can_run()
    zap.finish()
    fork.finish()
    assert stage.final_violations() == []


@pytest.mark.parametrize("mmu", ["tdp", "shadow"])
def test_a_poisoned_page_ends_the_access_with_a_signal(mmu: str, semantics: Semantics) -> None:
    """Nothing would come of repeating it."""
    stage = Stage(semantics, mmu=mmu, backing=("hwpoison", "anon"))
    reader = stage.read(0, 1)
    assert reader.faults == [PF_RETRY]
    assert FAULT_RETRY not in reader.points
    assert stage.level(1) == 0
    assert stage.final_violations() == []
