# SPDX-License-Identifier: GPL-2.0-only
"""Guest page tables: what is judged, what hardware might do as well, and what nobody can know yet."""

import pytest
from librt.vecs import vec
from mypy_extensions import i64

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_R, TLB_W
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.x86.points import PTE_WRITE_LOCK, SYNC_LOCK, SYNC_SPTE
from reference_mmu.x86.vcpu import invlpg
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, MM
from tests.deaf import Deaf
from tests.guest_tables import DATA, LEAF, LEAF_PAGE, OTHER, ROOT_PAGE, THIRD, GuestStage, gpte
from tests.parameters import BOTH, EVERY_PAGING


def unlock_by_somebody(stage: GuestStage) -> None:
    """Whoever comes by takes mmu_lock and changes nothing here."""
    stage.run(MM, change_protection_numa(stage.m, 7, 8))


def with_unsync_page() -> GuestStage:
    """The guest has written to the lowest of its tables, which is out of sync since."""
    stage = GuestStage()
    stage.read(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, OTHER, gpte(5))
    return stage


# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
@EVERY_PAGING
def test_accepts_a_guest_at_work(paging: str, semantics: Semantics) -> None:
    stage = GuestStage(semantics, paging=paging)
    for vcpu in (0, 1):
        stage.write(vcpu, DATA)
        stage.store_gpte(vcpu, LEAF_PAGE, DATA, gpte(7))
        stage.store_gpte(vcpu, ROOT_PAGE, 2, gpte(LEAF, writable=False))
        stage.read(vcpu, 8 + OTHER)
        stage.load_cr3(vcpu)
        stage.write(vcpu, DATA)
        stage.store_gpte(vcpu, LEAF_PAGE, DATA, gpte(4))
    assert stage.violations == []


# --- rejects ---------------------------------------------------------------------------------------------------


@BOTH
def test_rejects_a_shadowed_table_the_guest_can_still_write(semantics: Semantics) -> None:
    stage = GuestStage(semantics)
    stage.m.x86_vcpus[1].tlb = Deaf()
    stage.write(1, LEAF_PAGE)
    stage.read(0, DATA)
    assert "writable-guest-table" in stage.violations


@pytest.mark.reaches("writable-guest-table")
def test_rejects_an_unsync_page_that_is_called_sync() -> None:
    """As if mmu_sync_children() had left out the write protection."""
    stage = with_unsync_page()
    stage.shadow_page(LEAF).unsync = False
    unlock_by_somebody(stage)
    assert stage.violations == ["writable-guest-table"]


@pytest.mark.reaches("shadow-page-differs")
@pytest.mark.parametrize("value", [0, gpte(7), gpte(4, writable=False), gpte(4, dirty=False), gpte(4, accessed=False)])
def test_rejects_an_spte_that_allows_more_than_the_guest(value: int) -> None:
    """As if an emulated store had not been followed by kvm_mmu_track_write()."""
    stage = GuestStage()
    stage.write(0, DATA)
    stage.set_word(LEAF, DATA, value)
    unlock_by_somebody(stage)
    assert stage.violations == ["shadow-page-differs"]


def test_rejects_a_table_in_the_place_of_another() -> None:
    stage = GuestStage()
    stage.write(0, DATA)
    stage.set_word(0, 0, gpte(7))
    unlock_by_somebody(stage)
    assert stage.violations == ["shadow-page-differs"]


def test_rejects_a_tracked_table_in_a_tlb() -> None:
    stage = GuestStage()
    stage.m.x86_vcpus[1].tlb = Deaf()
    stage.write(1, THIRD)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 6))
    assert stage.violations[0] == "writable-after-tracking"


@pytest.mark.reaches("stale-after-guest-flush")
def test_rejects_a_flush_that_synchronizes_nothing() -> None:
    stage = GuestStage()
    stage.write(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(7))
    stage.root().unsync_children = 0
    stage.root().unsync_child_bitmap = vec[i64]([0] * 4)
    stage.invlpg(0, DATA)
    assert "stale-after-guest-flush" in stage.violations


@pytest.mark.reaches("unsync-differs")
def test_rejects_an_unsync_page_without_a_mark_above_it() -> None:
    stage = with_unsync_page()
    assert stage.root().unsync_children == 1
    stage.root().unsync_child_bitmap[0] = 0
    stage.root().unsync_children = 0
    unlock_by_somebody(stage)
    assert stage.violations == ["unsync-differs"]


def test_rejects_a_count_that_is_not_that_of_the_marks() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.root().unsync_children += 1
    unlock_by_somebody(stage)
    assert stage.violations == ["unsync-differs"]


def test_rejects_a_writable_spte_of_a_table_in_sync_that_no_tlb_has() -> None:
    stage = GuestStage()
    stage.read(0, LEAF_PAGE)
    stage.store_gpte(0, LEAF_PAGE, OTHER, gpte(5))
    stage.read(0, DATA)
    stage.load_cr3(0)
    assert stage.violations == []
    assert not stage.shadow_page(LEAF).unsync
    sp, index = stage.entry(LEAF_PAGE)
    sp.spt[index] |= stage.m.masks.shadow_mmu_writable_mask
    unlock_by_somebody(stage)
    assert stage.violations == ["writable-guest-table"]


def test_rejects_an_spte_that_executes_what_the_guest_may_not() -> None:
    stage = GuestStage()
    stage.set_word(LEAF, DATA, gpte(4, executable=False))
    stage.read(0, DATA)
    unlock_by_somebody(stage)
    assert stage.violations == []
    stage.set_word(LEAF, OTHER, gpte(5))
    stage.read(0, OTHER)
    stage.set_word(LEAF, OTHER, gpte(5, executable=False))
    unlock_by_somebody(stage)
    assert stage.violations == (["shadow-page-differs"] if stage.m.masks.shadow_x_mask else [])


@pytest.mark.reaches("stale-link")
def test_rejects_a_stale_table_that_is_linked() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(7))
    child = stage.shadow_page(LEAF)
    assert child.unsync
    parent, at = child.parent_ptes.sptes()[0]
    stage.m.actor = 0
    stage.m.write_lock()
    stage.judge.reports.begin_turn(0, 0, 0)
    stage.m.oracle.guest_walk_taken(stage.m)
    stage.m.spte_changed(parent, at, parent.spt[at], parent.spt[at])
    assert stage.violations == ["stale-link"]


def test_a_table_that_the_guest_changes_while_a_fault_is_linking_it_may_be_behind() -> None:
    """The walk of the fault came before the store, so that the guest cannot tell."""
    stage = GuestStage()
    stage.read(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, OTHER, gpte(5))
    child = stage.shadow_page(LEAF)
    parent, at = child.parent_ptes.sptes()[0]
    stage.m.oracle.guest_walk_taken(stage.m)
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(7))
    stage.m.actor = 0
    stage.m.write_lock()
    stage.m.spte_changed(parent, at, parent.spt[at], parent.spt[at])
    assert stage.violations == []


def test_rejects_a_flush_that_leaves_the_own_tlb_alone() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    entries = stage.m.x86_vcpus[0].tlb.items()
    flush = stage.thread(0, invlpg(stage.m, stage.m.x86_vcpus[0], DATA)).to(SYNC_LOCK)
    for key, entry in entries:
        stage.m.x86_vcpus[0].tlb.put(key, entry)
    flush.finish()
    assert stage.violations == ["stale-after-guest-flush"]


def test_rejects_an_invalidation_that_misses_a_virtual_page() -> None:
    """An entry of the zapped gfn under another address than the flow would think of."""
    stage = GuestStage()
    stage.m.x86_vcpus[1].tlb = Deaf()
    stage.set_word(LEAF, 3, gpte(5))
    stage.read(1, 3)
    stage.run(MM, change_protection_numa(stage.m, 5, 6))
    assert "stale-translation" in stage.violations
    assert "mapped-during-invalidation" in stage.violations


# --- legal, though odd -----------------------------------------------------------------------------------------


def test_a_translation_older_than_the_guests_entry_is_legal_until_its_flush() -> None:
    stage = GuestStage()
    stage.write(0, DATA)
    stage.store_gpte(1, LEAF_PAGE, DATA, gpte(7))
    stage.write(0, DATA)
    unlock_by_somebody(stage)
    assert stage.cached(0, DATA) >> TLB_PFN_SHIFT == 4
    assert stage.violations == []
    stage.invlpg(0, DATA)
    assert stage.cached(0, DATA) == 0
    assert stage.violations == []


def test_an_emulated_store_is_complete_only_when_its_sptes_have_followed() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.read(0, ROOT_PAGE)
    store = stage.storing(0, ROOT_PAGE, 0, gpte(7)).to(PTE_WRITE_LOCK)
    unlock_by_somebody(stage)
    stage.invlpg(1, DATA)
    assert stage.violations == []
    store.finish()
    assert stage.violations == []


def test_a_store_after_the_flush_began_may_wait_for_the_next() -> None:
    stage = GuestStage()
    stage.write(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, OTHER, gpte(5))
    flush = stage.thread(1, invlpg(stage.m, stage.m.x86_vcpus[1], DATA)).to(SYNC_LOCK)
    while not flush.ended:
        flush.step()
        if SYNC_SPTE not in flush.points:
            stage.store_gpte(0, LEAF_PAGE, DATA, gpte(7))
    assert stage.violations == []


def test_what_the_host_process_discards_is_its_own_affair() -> None:
    """KVM learns that the page is gone, not that it was a page table."""
    stage = GuestStage()
    stage.read(0, DATA)
    stage.run(MM, discard(stage.m, LEAF, LEAF + 1))
    assert stage.word(LEAF, DATA) == 0
    unlock_by_somebody(stage)
    stage.load_cr3(0)
    assert stage.violations == []


def test_the_same_gfn_at_two_addresses_is_judged_by_each() -> None:
    stage = GuestStage()
    stage.set_word(LEAF, 3, gpte(4, writable=False))
    stage.write(0, DATA)
    stage.read(0, 3)
    assert stage.cached(0, DATA) & (TLB_R | TLB_W | TLB_D) == TLB_R | TLB_W | TLB_D
    assert stage.cached(0, 3) & TLB_W == 0
    unlock_by_somebody(stage)
    assert stage.violations == []


# --- the dirty log ---------------------------------------------------------------------------------------------


def test_bits_that_kvm_sets_in_a_guest_table_belong_into_the_copy() -> None:
    stage = GuestStage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    stage.set_word(LEAF, DATA, gpte(4, dirty=False))
    stage.judge.attach(stage.m)
    stage.write(0, DATA)
    assert stage.final_violations() == []


def test_rejects_a_bit_set_in_a_guest_table_without_a_trace() -> None:
    stage = GuestStage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    stage.read(0, DATA)
    stage.judge.attach(stage.m)
    stage.m.memslots[0].dirty_bitmap[0] = stage.m.memslots[0].dirty_bitmap[1] = 0
    stage.set_word(LEAF, DATA, gpte(4) | 1 << 11)
    assert stage.final_violations() == ["lost-dirty-page"]
