# SPDX-License-Identifier: GPL-2.0-only
"""SPTE bits: the layout of hardware, A/D types, access tracking, and the table of make_spte() before and after."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import SlotConfig
from reference_mmu.x86.make_spte import make_huge_page_split_spte, make_spte
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import (
    ACC_ALL,
    FROZEN_SPTE,
    PAGE_SHIFT,
    PT_PAGE_SIZE_MASK,
    PT_WRITABLE_MASK,
    SHADOW_NONPRESENT_VALUE,
    SPTE_MMU_PRESENT_MASK,
    SPTE_TDP_AD_DISABLED,
    SPTE_TDP_AD_MASK,
    SPTE_TDP_AD_WRPROT_ONLY,
    VMX_EPT_ACCESS_BIT,
    VMX_EPT_DIRTY_BIT,
    VMX_EPT_RWX_MASK,
    SpteMasks,
    check_spte_writable_invariants,
    hw_present,
    is_access_track_spte,
    is_accessed_spte,
    is_frozen_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    leaf_spte_change_needs_tlb_flush,
    make_nonleaf_spte,
    mark_spte_for_access_track,
    restore_acc_track_spte,
    spte_has_volatile_bits,
    spte_to_pfn,
)
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, Stage
from tests.parameters import BOTH

R, W, X = 1 << 0, 1 << 1, 1 << 2
A, D = VMX_EPT_ACCESS_BIT, VMX_EPT_DIRTY_BIT
HOST_W, MMU_W = 1 << 57, 1 << 58
PRESENT = SPTE_MMU_PRESENT_MASK


def made(
    stage: Stage,
    *,
    old: int = 0,
    prefetch: bool = False,
    host_writable: bool = True,
    level: int = 1,
    gfn: int = 1,
    guest_mode: bool = False,
) -> tuple[int, bool]:
    """make_spte() for pfn 5, as the TDP MMU calls it."""
    m = stage.m
    sp = m.alloc_table(level, 0, None)
    sp.ad_disabled = not m.masks.kvm_ad_enabled()
    sp.guest_mode = guest_mode
    spte, wrprot = make_spte(m, sp, m.memslots[0], ACC_ALL, gfn, 5, old, prefetch, False, host_writable)
    return int(spte), wrprot


# --- layout ----------------------------------------------------------------------------------------------------


def test_bits_are_where_the_hardware_has_them() -> None:
    assert (R, W, X) == (1, PT_WRITABLE_MASK, 4)
    assert PT_PAGE_SIZE_MASK == 1 << 7
    assert (A, D) == (1 << 8, 1 << 9)
    assert PRESENT == 1 << 11
    assert SPTE_TDP_AD_MASK == 0b11 << 52
    assert SHADOW_NONPRESENT_VALUE & (1 << 64) - 1 == 1 << 63
    assert FROZEN_SPTE & (1 << 64) - 1 == 1 << 63 | 0x5A0


def test_frozen_and_nonpresent_entries_map_nothing() -> None:
    masks = SpteMasks("ept-ad", OLD)
    for spte in (SHADOW_NONPRESENT_VALUE, FROZEN_SPTE, 0):
        assert not is_shadow_present_pte(spte)
        assert not hw_present(masks, spte)
    assert is_frozen_spte(FROZEN_SPTE)
    assert not is_frozen_spte(SHADOW_NONPRESENT_VALUE)


def test_an_access_tracked_leaf_is_present_for_kvm_only() -> None:
    masks = SpteMasks("ept-noad", OLD)
    tracked = mark_spte_for_access_track(masks, PRESENT | SPTE_TDP_AD_DISABLED | R | W | X | HOST_W | MMU_W)
    assert is_shadow_present_pte(tracked)
    assert not hw_present(masks, tracked)
    assert is_access_track_spte(masks, tracked)


def test_writable_bits_come_in_four_legal_combinations() -> None:
    masks = SpteMasks("ept-ad", OLD)
    legal = {
        (host, mmu, w)
        for host in (0, HOST_W)
        for mmu in (0, MMU_W)
        for w in (0, W)
        if check_spte_writable_invariants(masks, PRESENT | R | host | mmu | w)
    }
    assert legal == {(HOST_W, MMU_W, W), (HOST_W, MMU_W, 0), (HOST_W, 0, 0), (0, 0, 0)}


def test_a_leaf_is_a_4k_entry_or_one_with_the_size_bit() -> None:
    assert is_last_spte(PRESENT, 1)
    assert not is_last_spte(PRESENT, 2)
    assert is_last_spte(PRESENT | PT_PAGE_SIZE_MASK, 2)


# --- access tracking -------------------------------------------------------------------------------------------


def test_tracking_saves_r_and_x_and_takes_w_for_good() -> None:
    masks = SpteMasks("ept-noad", OLD)
    spte = PRESENT | SPTE_TDP_AD_DISABLED | R | W | X | HOST_W | MMU_W | 5 << PAGE_SHIFT
    tracked = mark_spte_for_access_track(masks, spte)
    assert tracked & VMX_EPT_RWX_MASK == 0
    assert tracked & (1 << 54 | 1 << 55 | 1 << 56) == 1 << 54 | 1 << 56
    assert mark_spte_for_access_track(masks, tracked) == tracked
    assert restore_acc_track_spte(masks, tracked) == spte & ~W


def test_tracking_clears_the_software_accessed_bit_only_in_new() -> None:
    for semantics, left in ((OLD, A), (NEW, 0)):
        masks = SpteMasks("ept-noad", semantics)
        tracked = mark_spte_for_access_track(masks, PRESENT | SPTE_TDP_AD_DISABLED | R | X | A)
        assert tracked & A == left


@BOTH
def test_with_a_d_bits_tracking_clears_a(semantics: Semantics) -> None:
    masks = SpteMasks("ept-ad", semantics)
    assert mark_spte_for_access_track(masks, PRESENT | R | W | X | A | D) == PRESENT | R | W | X | D


def test_accessed_means_rwx_in_old_and_a_in_new_without_a_d_bits() -> None:
    readable = PRESENT | SPTE_TDP_AD_DISABLED | R | X
    assert is_accessed_spte(SpteMasks("ept-noad", OLD), readable)
    assert not is_accessed_spte(SpteMasks("ept-noad", NEW), readable)
    assert is_accessed_spte(SpteMasks("ept-noad", NEW), readable | A)


def test_masks_without_a_d_bits_are_zero_in_old_and_bits_8_and_9_in_new() -> None:
    old, new = SpteMasks("ept-noad", OLD), SpteMasks("ept-noad", NEW)
    assert (old.shadow_accessed_mask, old.shadow_dirty_mask) == (0, 0)
    assert (new.shadow_accessed_mask, new.shadow_dirty_mask) == (A, D)
    assert not old.kvm_ad_enabled()
    assert not new.kvm_ad_enabled()
    # Hardware sets neither, whatever the masks say.
    assert (new.hw_accessed, new.hw_dirty) == (0, 0)


# --- volatile bits and the flush rule --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spte", "volatile"),
    [
        (R | MMU_W | HOST_W | A, True),  # fast_page_fault() may give W back
        (R | W | MMU_W | HOST_W | A, True),  # hardware may set D
        (R | W | MMU_W | HOST_W | D, True),  # hardware may set A
        (R | W | MMU_W | HOST_W | A | D, False),
        (R | A, False),
        (R, True),
        (SPTE_TDP_AD_DISABLED | R, False),
        (SPTE_TDP_AD_DISABLED | R | W | MMU_W | HOST_W, False),
        (SPTE_TDP_AD_DISABLED | 1 << 54, True),  # tracked: the next access restores it
    ],
)
@BOTH
def test_what_may_change_outside_mmu_lock(semantics: Semantics, spte: int, volatile: bool) -> None:
    assert spte_has_volatile_bits(SpteMasks("ept-ad", semantics), PRESENT | spte) == volatile


def test_only_the_loss_of_mmu_writable_needs_a_flush() -> None:
    masks = SpteMasks("ept-ad", NEW)
    full = PRESENT | R | W | X | A | D | HOST_W | MMU_W
    for kept in (full & ~W, full & ~A, full & ~D, full & ~(W | A | D), full):
        assert not leaf_spte_change_needs_tlb_flush(masks, full, kept)
    assert leaf_spte_change_needs_tlb_flush(masks, full, full & ~(W | MMU_W))
    # Also when W was gone already: the log leaves writable TLB entries behind.
    assert leaf_spte_change_needs_tlb_flush(masks, full & ~W, full & ~(W | MMU_W))


# --- make_spte(), row by row -----------------------------------------------------------------------------------

LEAF_W = PRESENT | R | W | X | HOST_W | MMU_W | A | 5 << PAGE_SHIFT


@BOTH
def test_a_fresh_writable_page(semantics: Semantics) -> None:
    assert made(Stage(semantics)) == (LEAF_W | D, False)


@BOTH
def test_a_page_the_host_maps_read_only(semantics: Semantics) -> None:
    assert made(Stage(semantics), host_writable=False) == (PRESENT | R | X | A | 5 << PAGE_SHIFT, False)


def test_over_a_writable_leaf_old_forgets_d_and_new_sets_it() -> None:
    """The loser of two racing write faults: OLD jumped over the Dirty bit together with the unsync check."""
    assert made(Stage(OLD), old=LEAF_W | D) == (LEAF_W, False)
    assert made(Stage(NEW), old=LEAF_W | D) == (LEAF_W | D, False)
    assert made(Stage(parse_semantics("no-struct-page+always-dirty-if-writable")), old=LEAF_W | D) == (
        LEAF_W | D,
        False,
    )


@BOTH
def test_over_a_writable_leaf_nobody_asks_whether_the_gfn_may_be_written(semantics: Semantics) -> None:
    stage = Stage(semantics)
    made(stage)
    asked = int(stage.m.unsync_calls)
    assert asked == 1
    made(stage, old=LEAF_W)
    assert int(stage.m.unsync_calls) == asked


@BOTH
def test_a_raw_w_bit_in_an_entry_that_is_no_leaf_does_not_count(semantics: Semantics) -> None:
    """Non-leaf entries are writable, too (2867eb782cf7)."""
    stage = Stage(semantics, backing=("thp", "anon"))
    table = stage.m.alloc_table(1, 0, None)
    nonleaf = int(make_nonleaf_spte(stage.m.masks, table, False))
    assert nonleaf & W
    made(stage, old=nonleaf, level=2, gfn=0)
    assert int(stage.m.unsync_calls) == 1


@BOTH
def test_a_tracked_gfn_is_refused_w_and_mmu_writable(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    assert made(stage) == (PRESENT | R | X | A | HOST_W | 5 << PAGE_SHIFT, True)


@BOTH
def test_a_prefetch_is_not_accessed_but_stays_writable(semantics: Semantics) -> None:
    assert made(Stage(semantics), prefetch=True) == ((LEAF_W | D) & ~A, False)


def test_a_prefetch_without_a_d_bits_is_born_access_tracked() -> None:
    saved = 1 << 54 | 1 << 56
    rest = PRESENT | SPTE_TDP_AD_DISABLED | HOST_W | MMU_W | saved | 5 << PAGE_SHIFT
    assert made(Stage(OLD, paging="ept-noad"), prefetch=True) == (rest, False)
    # D is set before the tracking step, which leaves it.
    assert made(Stage(NEW, paging="ept-noad"), prefetch=True) == (rest | D, False)


def test_without_a_d_bits_new_uses_them_as_software_bits() -> None:
    hardware = LEAF_W & ~A | SPTE_TDP_AD_DISABLED
    assert made(Stage(OLD, paging="ept-noad")) == (hardware, False)
    assert made(Stage(NEW, paging="ept-noad")) == (hardware | A | D, False)


@BOTH
def test_l2_under_pml_is_logged_by_write_protection(semantics: Semantics) -> None:
    """PML would log L2 addresses."""
    stage = Stage(semantics, nested=True)
    assert made(stage, guest_mode=True) == (LEAF_W | D | SPTE_TDP_AD_WRPROT_ONLY, False)
    assert made(Stage(semantics, nested=True, paging="ept-ad-nopml"), guest_mode=True) == (LEAF_W | D, False)


@BOTH
def test_a_huge_leaf_has_the_size_bit(semantics: Semantics) -> None:
    assert made(Stage(semantics, backing=("thp", "anon")), level=2, gfn=0) == (LEAF_W | D | PT_PAGE_SIZE_MASK, False)


@BOTH
def test_a_writable_result_marks_the_page_dirty_before_anyone_stores_it(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 8, 0, logging=True),))
    made(stage, host_writable=False)
    assert not stage.dirty(1)
    made(stage)
    assert stage.dirty(1)


@BOTH
def test_a_tracked_prefetch_into_a_logging_slot_sets_no_bit(semantics: Semantics) -> None:
    """The bitmap looks at the final value, whose W is gone."""
    stage = Stage(semantics, paging="ept-noad", slots=(SlotConfig(0, 8, 0, logging=True),))
    spte, _ = made(stage, prefetch=True)
    assert is_mmu_writable_spte(stage.m.masks, spte)
    assert not stage.dirty(1)


# --- other entries ---------------------------------------------------------------------------------------------


@BOTH
def test_the_pieces_of_a_huge_page_are_as_it_was(semantics: Semantics) -> None:
    stage = Stage(semantics)
    child: KvmMmuPage = stage.m.alloc_table(1, 4, None)
    huge = PRESENT | R | X | PT_PAGE_SIZE_MASK | D | HOST_W | MMU_W | 8 << PAGE_SHIFT
    pieces = [int(make_huge_page_split_spte(stage.m, huge, child, index)) for index in range(4)]
    assert [int(spte_to_pfn(piece)) for piece in pieces] == [8, 9, 10, 11]
    assert {piece & ~(0xFF << PAGE_SHIFT) for piece in pieces} == {PRESENT | R | X | D | HOST_W | MMU_W}


def test_npt_has_its_own_bits() -> None:
    masks = SpteMasks("npt", NEW)
    assert (masks.shadow_accessed_mask, masks.shadow_dirty_mask) == (1 << 5, 1 << 6)
    assert (masks.shadow_host_writable_mask, masks.shadow_mmu_writable_mask) == (1 << 9, 1 << 10)
    assert masks.shadow_acc_track_mask == 0
    assert masks.kvm_ad_enabled()
