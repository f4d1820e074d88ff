# SPDX-License-Identifier: GPL-2.0-only
"""KVM's walk of the guest's page tables: what it returns, what it sets, and when it starts over."""

import pytest

from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_W
from reference_mmu.observed import PF_INJECTED
from reference_mmu.points import GUP_FAULT
from reference_mmu.x86.points import GPTE_READ, GPTE_UPDATE
from reference_mmu.x86.shadow_mmu.guest_walk import walk_addr
from reference_mmu.x86.spte import ACC_ALL, ACC_EXEC_MASK, ACC_USER_MASK, PT_ACCESSED_MASK, PT_DIRTY_MASK
from tests.guest_tables import DATA, LEAF, PTES, ROOT, THIRD, GuestStage, gpte


def walked(stage: GuestStage, page: int, *, write: bool = False) -> object:
    stage.m.srcu.lock(0)
    result = stage.run(0, walk_addr(stage.m, stage.m.x86_vcpus[0], page, write)).result
    stage.m.srcu.unlock(0)
    return result


def test_the_way_and_what_it_allows() -> None:
    stage = GuestStage()
    stage.set_word(ROOT, 0, gpte(LEAF, writable=False))
    walker = stage.run(0, walk_addr(stage.m, stage.m.x86_vcpus[0], DATA, False)).result
    assert (walker.gfn, list(walker.table_gfn[1:]), list(walker.pt_access[1:])) == (4, [LEAF, ROOT], [5, ACC_ALL])
    assert walker.pte_access == ACC_EXEC_MASK | ACC_USER_MASK


@pytest.mark.reaches("injected")
def test_what_the_guest_forbids_is_its_own_fault() -> None:
    stage = GuestStage()
    assert walked(stage, 3) is None
    assert walked(stage, 8) is None
    stage.set_word(LEAF, DATA, gpte(4, writable=False))
    assert walked(stage, DATA) is not None
    assert walked(stage, DATA, write=True) is None
    assert stage.write(0, DATA).faults == [PF_INJECTED]
    assert stage.violations == []


def test_a_read_of_a_clean_page_gets_no_write_access() -> None:
    stage = GuestStage()
    stage.set_word(LEAF, DATA, gpte(4, dirty=False))
    stage.read(0, DATA)
    assert stage.rights(DATA) == "R"
    # The write comes to KVM, which sets D for the guest.
    stage.write(0, DATA)
    assert stage.rights(DATA) == "RWM"
    assert stage.word(LEAF, DATA) == gpte(4)


def test_tables_that_the_process_may_only_read_are_a_fault_of_the_guest() -> None:
    ptes = tuple(type(pte)(pte.table, pte.index, pte.gfn) for pte in PTES)
    stage = GuestStage(ptes=ptes, backing=("readonly", "anon"))
    assert walked(stage, DATA) is None
    assert stage.read(0, DATA).faults == [PF_INJECTED]
    assert stage.word(ROOT, 0) == gpte(LEAF, accessed=False, dirty=False)
    # With A and D there is nothing to be set.
    assert walked(GuestStage(backing=("readonly", "anon")), DATA, write=True) is not None


@pytest.mark.parametrize(("paging", "sets"), [("npt", True), ("ept-ad", True), ("ept-noad", False)])
def test_accessed_and_dirty_are_set_where_the_guest_has_them(paging: str, sets: bool) -> None:
    ptes = tuple(type(pte)(pte.table, pte.index, pte.gfn) for pte in PTES)
    stage = GuestStage(ptes=ptes, paging=paging)
    stage.m.host.flags[ROOT] = HOST_W
    stage.write(0, DATA)
    assert bool(stage.word(ROOT, 0) & PT_ACCESSED_MASK) == sets
    assert bool(stage.word(LEAF, DATA) & PT_DIRTY_MASK) == sets
    assert bool(stage.m.host.flags[ROOT] & HOST_D) == sets
    assert stage.word(LEAF, THIRD) == gpte(6, accessed=False, dirty=False)


def test_setting_a_bit_logs_the_table() -> None:
    stage = GuestStage(ptes=tuple(type(pte)(pte.table, pte.index, pte.gfn) for pte in PTES))
    stage.m.memslots[0].log_dirty_pages = True
    stage.m.memslots[0].dirty_bitmap = stage.m.alloc_bitmap(stage.m.memslots[0])
    walked(stage, DATA)
    assert [gfn for gfn in range(8) if stage.dirty(gfn)] == [ROOT, LEAF]


def test_an_entry_that_changes_before_its_bit_is_set_makes_the_walk_start_over() -> None:
    stage = GuestStage()
    stage.set_word(LEAF, DATA, gpte(4, dirty=False))
    walk = stage.thread(0, walk_addr(stage.m, stage.m.x86_vcpus[0], DATA, True)).to(GPTE_UPDATE)
    stage.set_word(LEAF, DATA, gpte(5, dirty=False))
    assert walk.finish().result.gfn == 5
    assert walk.points.count(GPTE_READ) == 4
    assert stage.word(LEAF, DATA) == gpte(5)


def test_a_table_that_is_not_in_memory_is_faulted_in() -> None:
    stage = GuestStage()
    stage.m.host.flags[LEAF] |= HOST_PROTNONE
    walk = stage.run(0, walk_addr(stage.m, stage.m.x86_vcpus[0], DATA, False))
    assert GUP_FAULT in walk.points
    assert walk.result.gfn == 4
