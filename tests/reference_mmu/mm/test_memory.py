# SPDX-License-Identifier: GPL-2.0-only
"""Faults of the process: what is mapped, with which rights, and who is told."""

import pytest

from reference_mmu.mm.host import HOST_D, HOST_SHARED, HOST_W, PTE_NONE, PTE_SWAP
from reference_mmu.mm.memory import do_swap_page, do_wp_page_copy, needs_io, unshare_page
from reference_mmu.points import INV_LOCK
from tests.by_hand import DEVICE, MM
from tests.host_memory import Memory


@pytest.mark.parametrize(
    ("kind", "read"),
    [("anon", 0), ("swapped", 0), ("file", 0), ("shmem", HOST_W), ("hugetlb", HOST_W), ("untouched", HOST_SHARED)],
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


# --- copy-on-write ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copy", "flags"), [(do_wp_page_copy, HOST_W | HOST_D), (unshare_page, 0)])
def test_a_copy_replaces_the_page_between_start_and_end(copy: object, flags: int) -> None:
    assert callable(copy)
    memory = Memory("cow")
    shared = memory.page()
    shared.data = 9
    thread = memory.thread(MM, copy(memory.m, 0)).to(INV_LOCK)
    assert memory.page() is shared
    thread.finish()
    assert memory.page() is not shared
    assert (memory.page().data, memory.m.host.flags[0], shared.refcount) == (9, flags, 1)
    assert (memory.m.mmu_invalidate_seq, memory.m.mn_active_invalidate_count) == (1, 0)


def test_of_two_who_copy_the_second_finds_it_done() -> None:
    memory = Memory("cow")
    late = memory.thread(DEVICE, do_wp_page_copy(memory.m, 0)).to(INV_LOCK)
    memory.run(MM, do_wp_page_copy(memory.m, 0))
    pfn = int(memory.m.host.pte[0])
    late.finish()
    assert (memory.m.host.pte[0], memory.page().refcount) == (pfn, 1)
