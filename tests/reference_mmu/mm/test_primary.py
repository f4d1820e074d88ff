# SPDX-License-Identifier: GPL-2.0-only
"""What the primary MMU does to guest pages: contents survive, references hold pages, huge pages come and go."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W
from reference_mmu.mm.khugepaged import collapse_block
from reference_mmu.mm.ksm import share_page
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.mm.vmscan import shrink_folio
from reference_mmu.points import INV_CLEAN, INV_IO, MM_WAIT
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage


def make_old(stage: Stage, hva: int) -> None:
    """Reclaim leaves young pages alone."""
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, hva, hva + 1))


def test_migration_moves_the_contents_to_another_page(stage: Stage) -> None:
    stage.write(0, 1)
    before = int(stage.m.host.pte[1])
    stage.run(MM, migrate_page(stage.m, 1))
    assert int(stage.m.host.pte[1]) != before
    assert stage.m.host.pages[before].freed
    assert stage.m.host.contents(1) == stage.m.host.reference[1] == 1


def test_migration_gives_up_on_a_page_that_somebody_holds(stage: Stage) -> None:
    before = int(stage.m.host.pte[1])
    holder = stage.access(0, 1).to(FAULT_PFN)
    stage.run(MM, migrate_page(stage.m, 1))
    assert int(stage.m.host.pte[1]) == before
    holder.finish()


def test_reclaim_writes_out_what_is_dirty_and_reads_it_back(stage: Stage) -> None:
    stage.write(0, 1)
    make_old(stage, 1)
    reclaim = stage.run(MM, shrink_folio(stage.m, 1))
    assert INV_CLEAN in reclaim.points
    assert stage.m.host.pte[1] < 0
    assert stage.m.host.swap[1] == 1
    stage.read(0, 1)
    assert stage.m.host.contents(1) == 1
    assert stage.violations == []


def test_a_second_operation_waits_for_a_page_that_is_locked(stage: Stage) -> None:
    stage.write(0, 1)
    make_old(stage, 1)
    reclaim = stage.thread(MM, shrink_folio(stage.m, 1)).to(INV_IO)
    other = stage.thread(DEVICE, migrate_page(stage.m, 1)).to(MM_WAIT)
    assert not other.can_run()
    reclaim.finish()
    other.finish()
    assert stage.violations == []


def test_writeback_leaves_the_page_mapped_read_only_and_clean(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("file", "anon"))
    stage.write(0, 1)
    stage.run(MM, writeback(stage.m, 1))
    page = stage.m.host.pages[int(stage.m.host.pte[1])]
    assert (page.dirty, stage.m.host.flags[1] & (HOST_W | HOST_D)) == (False, 0)
    assert stage.m.host.swap[1] == 1
    stage.write(0, 1)
    assert page.dirty


def test_a_shared_page_is_copied_by_the_next_write(stage: Stage) -> None:
    stage.write(0, 1)
    stage.run(MM, share_page(stage.m, 1))
    shared = int(stage.m.host.pte[1])
    assert stage.m.host.flags[1] & HOST_SHARED
    stage.read(0, 1)
    assert int(stage.m.host.pte[1]) == shared
    stage.write(0, 1)
    assert int(stage.m.host.pte[1]) != shared
    assert not stage.m.host.pages[shared].freed  # the other process has it
    assert stage.final_violations() == []


def test_numa_hinting_changes_no_page(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    pages = [int(pfn) for pfn in stage.m.host.pte]
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    assert [bool(flags & HOST_PROTNONE) for flags in stage.m.host.flags] == [True] * 4 + [False] * 4
    stage.read(0, 1)
    assert [int(pfn) for pfn in stage.m.host.pte] == pages


def test_a_huge_page_is_made_and_split(stage: Stage) -> None:
    for gfn in range(4):
        stage.write(0, gfn)
    stage.run(MM, collapse_block(stage.m, 1))
    assert stage.m.host.huge == [True, False]
    assert int(stage.m.host.pte[0]) % 4 == 0
    folio = stage.m.host.folio(stage.m.host.pte[3])
    assert (folio.head, folio.large, folio.refcount) == (stage.m.host.pte[0], True, 4)
    stage.read(0, 1)
    assert stage.level(1) == 2
    stage.run(MM, discard(stage.m, 1, 2))
    assert stage.m.host.huge == [False, False]
    assert [int(stage.m.host.contents(hva)) for hva in range(4)] == [1, 0, 3, 4]
    assert stage.final_violations() == []
