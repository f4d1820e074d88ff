# SPDX-License-Identifier: GPL-2.0-only
"""The lock of a page: whose it is, who waits for it, and what is put when it is let go."""

from reference_mmu.mm.filemap import (
    folio_lock,
    folio_trylock,
    folio_unlock,
    move_lock,
    put_mapping,
    unlock_if_taken,
)
from reference_mmu.mm.host import PTE_BUSY, PTE_SWAP
from reference_mmu.points import MM_WAIT
from tests.by_hand import DEVICE, MM, Stage


def as_actor(stage: Stage, actor: int) -> Stage:
    stage.m.actor = actor
    return stage


def test_one_has_it_and_another_waits() -> None:
    stage = as_actor(Stage(), MM)
    pfn = folio_trylock(stage.m, 1)
    assert pfn == stage.m.host.pte[1]
    assert folio_trylock(stage.m, 1) == -1
    waiting = stage.thread(DEVICE, folio_lock(stage.m, 1)).to(MM_WAIT)
    assert not waiting.can_run()
    folio_unlock(stage.m, pfn)
    assert waiting.finish().result == pfn
    assert stage.m.host.pages[pfn].locked_by == DEVICE


def test_no_page_and_a_busy_one_cannot_be_locked() -> None:
    stage = as_actor(Stage(), MM)
    host = stage.m.host
    host.unmap(1, PTE_BUSY)
    host.pte[2] = PTE_SWAP
    assert [int(folio_trylock(stage.m, hva)) for hva in (1, 2)] == [-1, -1]
    unlock_if_taken(stage.m, -1)
    assert {int(page.locked_by) for page in host.pages} == {-1}


def test_pages_of_a_huge_one_have_one_lock() -> None:
    stage = as_actor(Stage(backing=("thp", "anon")), MM)
    head = int(stage.m.host.pte[0])
    assert folio_trylock(stage.m, 2) == head + 2
    assert folio_trylock(stage.m, 1) == -1
    assert stage.m.host.pages[head].locked_by == MM
    move_lock(stage.m.host, head, head + 2)
    assert [int(stage.m.host.pages[head + at].locked_by) for at in range(4)] == [-1, -1, MM, -1]


def test_a_mapping_that_goes_under_the_lock_is_put_with_it() -> None:
    stage = as_actor(Stage(), MM)
    pfn = int(folio_trylock(stage.m, 1))
    as_actor(stage, DEVICE)
    put_mapping(stage.m, pfn)
    assert [int(stage.m.host.pages[pfn].orphans), int(stage.m.host.pages[pfn].refcount)] == [1, 1]
    as_actor(stage, MM)
    folio_unlock(stage.m, pfn)
    assert [int(stage.m.host.pages[pfn].orphans), int(stage.m.host.pages[pfn].refcount)] == [0, 0]


def test_without_the_lock_or_with_ones_own_it_is_put_at_once() -> None:
    stage = as_actor(Stage(), MM)
    for hva, locked in ((1, False), (2, True)):
        if locked:
            folio_trylock(stage.m, hva)
        put_mapping(stage.m, stage.m.host.pte[hva])
        assert stage.m.host.pages[int(stage.m.host.pte[hva])].freed
