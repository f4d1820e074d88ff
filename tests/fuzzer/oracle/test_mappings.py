# SPDX-License-Identifier: GPL-2.0-only
"""Pages and the SPTEs that map them: invalidation, freeing, slots."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.mm.khugepaged import collapse_block
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.mm.vmscan import shrink_folio
from reference_mmu.points import INV_CLEAN, INV_FLUSH, INV_PRIMARY
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.points import BACK_ZAP, FAULT_PFN, FRONT_FLUSH
from reference_mmu.x86.spte import PAGE_SHIFT, SHADOW_NONPRESENT_VALUE
from reference_mmu.x86.zap_range import kvm_zap_gfn_range
from tests.by_hand import DEVICE, IOCTL, MM, Stage
from tests.deaf import Deaf
from tests.parameters import EVERY_MMU, EVERY_MMU_OF_BOTH

TLB_ALONE = pytest.mark.parametrize("tlb_alone", [False, True], ids=["an SPTE", "an entry of a TLB"])


def mapped(tlb_alone: bool) -> Stage:
    """Gfn 1 is mapped, or in the TLB alone: its SPTE has gone, and nobody has flushed."""
    stage = Stage()
    stage.write(0, 1)
    if tlb_alone:
        sp, index = stage.entry(1)
        sp.spt[index] = SHADOW_NONPRESENT_VALUE
    return stage


# --- accepts ---------------------------------------------------------------------------------------------------


@EVERY_MMU_OF_BOTH
@pytest.mark.parametrize("change", [migrate_page, shrink_folio, writeback, collapse_block])
def test_accepts_what_the_primary_mmu_does(change: object, mmu: str, semantics: Semantics) -> None:
    assert callable(change)
    stage = Stage(semantics, mmu=mmu, backing=("anon", "thp"))
    for gfn in (1, 5):
        stage.write(0, gfn)
        stage.write(1, gfn)
        stage.run(MM, change(stage.m, gfn))
        stage.read(0, gfn)
        stage.write(1, gfn)
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


def test_rejects_a_range_that_is_still_mapped_when_start_returns() -> None:
    stage = Stage()
    stage.write(0, 1)
    leaf = stage.leaf(1)
    start = stage.thread(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2)).to(INV_FLUSH)
    stage.store(1, leaf)
    assert stage.violations == []
    start.to(INV_PRIMARY)
    assert stage.violations == ["mapped-during-invalidation"]


@pytest.mark.parametrize("huge", [True, False])
def test_a_huge_mapping_may_reach_in_as_long_as_the_host_has_one_pte_for_it(huge: bool) -> None:
    """Odd, and legal: the primary MMU has to invalidate all of it before it changes the PTE. If it has split that
    already, nothing else will zap the leaf."""
    stage = Stage(backing=("thp", "anon"))
    stage.write(0, 1)
    leaf = stage.leaf(1)
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2))
    stage.m.host.huge[0] = huge
    stage.store(1, leaf, level=2)
    assert stage.violations == ([] if huge else ["mapped-during-invalidation"])


def test_rejects_a_mapping_made_during_an_invalidation() -> None:
    """A fault that does not look at mmu_invalidate_seq."""
    stage = Stage()
    stage.write(0, 1)
    leaf = stage.leaf(1)
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2))
    assert stage.violations == []
    stage.store(1, leaf)
    assert stage.violations == ["mapped-during-invalidation"]


@TLB_ALONE
def test_rejects_a_page_freed_under_a_mapping(tlb_alone: bool) -> None:
    stage = mapped(tlb_alone)
    stage.m.put_page(int(stage.m.host.pte[1]))
    assert stage.violations == ["mapped-freed-page"]


@EVERY_MMU
def test_accepts_a_range_that_is_zapped(mmu: str) -> None:
    stage = Stage(mmu=mmu, backing=("thp", "anon"))
    stage.write(0, 1)
    stage.write(1, 5)
    stage.run(DEVICE, kvm_zap_gfn_range(stage.m, 1, 6))
    stage.read(1, 5)
    assert stage.final_violations() == []


@pytest.mark.reaches("older-than-zap")
@TLB_ALONE
def test_rejects_a_mapping_older_than_the_zap(tlb_alone: bool) -> None:
    stage = mapped(tlb_alone)
    stage.m.oracle.range_zapped(stage.m, 1, 2)
    assert stage.violations == ["older-than-zap"]


def test_legal_an_obsolete_root_that_still_maps_what_was_zapped() -> None:
    """Valid roots only: its users have been asked to leave it."""
    stage = Stage(NEW)
    stage.write(0, 2)
    stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(BACK_ZAP)
    stage.m.oracle.range_zapped(stage.m, 2, 3)
    assert stage.violations == []


def test_legal_a_huge_page_that_was_mapped_beside_the_range_meanwhile() -> None:
    """mmu_lock was dropped, the fault is for a gfn that nobody zaps, and its page is not older than the zap."""
    stage = Stage(backing=("thp", "anon"))
    stage.m.oracle.range_zap_begun(stage.m)
    stage.write(0, 1)
    assert stage.level(3) == 2
    stage.m.oracle.range_zapped(stage.m, 3, 5)
    assert stage.violations == []
    stage.m.oracle.range_zap_begun(stage.m)
    stage.m.oracle.range_zapped(stage.m, 3, 5)
    assert stage.violations == ["older-than-zap"]


@pytest.mark.reaches("mapped-during-invalidation", "mapped-freed-page")
def test_rejects_a_migration_whose_flush_a_vcpu_missed() -> None:
    stage = Stage()
    stage.write(1, 1)
    stage.m.x86_vcpus[1].tlb = Deaf(stage.m.x86_vcpus[1].tlb)
    stage.run(MM, migrate_page(stage.m, 1))
    assert stage.violations == ["stale-translation", "mapped-during-invalidation", "mapped-freed-page"]


def test_rejects_a_slot_that_is_still_mapped_after_its_zap() -> None:
    stage = Stage(zap_all_quirk=False)
    stage.write(0, 1)
    leaf = stage.leaf(1)
    deletion = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(FRONT_FLUSH)
    stage.store(1, leaf)
    deletion.finish()
    assert "slot-still-mapped" in stage.violations


@pytest.mark.reaches("slot-still-mapped")
def test_rejects_a_slot_that_is_still_cached_after_its_zap() -> None:
    stage = Stage(zap_all_quirk=False)
    stage.write(0, 1)
    stage.m.x86_vcpus[0].tlb = Deaf(stage.m.x86_vcpus[0].tlb)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert stage.violations == ["stale-translation", "slot-still-mapped"]


@pytest.mark.reaches("invalidation-imbalance")
def test_rejects_an_invalidation_that_never_ends() -> None:
    stage = Stage()
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2))
    assert stage.violations == []
    assert stage.final_violations() == ["invalidation-imbalance"]


def test_rejects_a_changed_pfn() -> None:
    """Nobody may overwrite one page's leaf with another's: zap and flush come first."""
    stage = Stage(NEW)
    reader = stage.access(0, 1).to(FAULT_PFN)
    stage.write(1, 1)
    sp, index = stage.entry(1, vcpu=1)
    sp.spt[index] += 1 << PAGE_SHIFT
    reader.finish()
    assert stage.violations[0] == "bug"


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_an_empty_range_with_page_tables_over_it() -> None:
    stage = Stage()
    stage.write(0, 1)
    table: KvmMmuPage = stage.entry(1)[0]
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 0, 8))
    assert not table.freed
    stage.run(MM, kvm_mmu_notifier_invalidate_range_end(stage.m, 0, 8))
    assert stage.violations == []


def test_legal_a_fault_outside_the_range() -> None:
    stage = Stage()
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 0, 2))
    stage.write(0, 5)
    assert stage.level(5) == 1
    assert stage.violations == []


def test_legal_a_page_freed_while_another_slot_maps_its_neighbour() -> None:
    stage = Stage(slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    stage.write(0, 1)
    stage.write(0, 4)
    stage.run(MM, discard(stage.m, 0, 4))
    assert stage.level(4) == 1
    assert stage.final_violations() == []


def test_legal_a_missing_host_page_under_a_missing_spte() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))  # reclaim leaves young pages alone
    reclaim = stage.thread(MM, shrink_folio(stage.m, 1)).to(INV_CLEAN)
    assert stage.leaf(1) == 0
    reclaim.finish()
    assert stage.final_violations() == []
