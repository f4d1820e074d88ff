# SPDX-License-Identifier: GPL-2.0-only
"""Dirty logging: what each ioctl protects, when it flushes, what it reports; PML, manual and INITIALLY_SET modes."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import (
    disable_dirty_log,
    enable_dirty_log,
    kvm_clear_dirty_log_protect,
    kvm_get_dirty_log_protect,
)
from reference_mmu.observed import COUNT_PML, EV_HARVEST, EV_SHIFT, PF_FAST, PF_FIXED
from reference_mmu.points import GET_COPY, GET_FLUSH, GET_LOCK, GET_WORD, SLOTS_LOCK, SLOTS_SRCU, SLOTS_SWAP, USER_COPY
from reference_mmu.x86 import points
from reference_mmu.x86.dirty_log import align_up
from reference_mmu.x86.spte import VMX_EPT_DIRTY_BIT, is_mmu_writable_spte, is_writable_pte
from tests.by_hand import IOCTL, VALUE, Stage, Thread
from tests.parameters import BOTH
from tests.reference_mmu.x86.test_requests import pml_of_each

LOGGING = (SlotConfig(base=0, npages=8, hva=0, logging=True),)
UNALIGNED = (SlotConfig(base=3, npages=7, hva=1, logging=True),)


def harvested(thread: Thread) -> list[tuple[int, int]]:
    """(word, bits) that an ioctl reported."""
    values = [event & VALUE for event in thread.events() if event >> EV_SHIFT == EV_HARVEST]
    return [(value >> 32, value & (1 << 32) - 1) for value in values]


def get(stage: Stage) -> Thread:
    return stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))


# --- enabling --------------------------------------------------------------------------------------------------


@BOTH
def test_enabling_with_pml_clears_d_and_leaves_w(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert enable.points == [
        *[SLOTS_LOCK, SLOTS_SWAP, SLOTS_SRCU, points.PML_REQUEST],
        *[points.LOG_SPLIT_LOCK_R, points.LOG_CLEAR_LOCK_R, points.LOG_CLEAR, points.LOG_PROTECT_LOCK_R],
        *[points.LOG_ENABLE_FLUSH, USER_COPY],
    ]
    assert is_writable_pte(stage.leaf(1))
    assert stage.leaf(1) & VMX_EPT_DIRTY_BIT == 0
    assert enable.flushes == 1


@BOTH
@pytest.mark.parametrize("paging", ["ept-ad-nopml", "ept-noad", "npt"])
def test_enabling_without_pml_takes_w_and_keeps_mmu_writable(paging: str, semantics: Semantics) -> None:
    stage = Stage(semantics, paging=paging)
    stage.write(0, 1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert points.LOG_PROTECT in enable.points
    assert not is_writable_pte(stage.leaf(1))
    assert is_mmu_writable_spte(stage.m.masks, stage.leaf(1))
    assert stage.write(1, 1).faults == [PF_FAST]
    assert stage.dirty(1)


@BOTH
def test_enabling_the_shadow_mmu_takes_mmu_lock_for_write(semantics: Semantics) -> None:
    stage = Stage(semantics, mmu="shadow")
    stage.write(0, 1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert points.LOG_CLEAR_LOCK_W in enable.points
    assert points.LOG_PROTECT_LOCK_W in enable.points
    assert not {points.LOG_CLEAR_LOCK_R, points.LOG_PROTECT_LOCK_R, points.LOG_SPLIT_LOCK_R} & set(enable.points)


@BOTH
def test_enabling_flushes_even_if_nothing_was_mapped(semantics: Semantics) -> None:
    """An SPTE may have lost W or D earlier, without a flush."""
    stage = Stage(semantics)
    assert stage.run(IOCTL, enable_dirty_log(stage.m, 0)).flushes == 1


@BOTH
def test_huge_pages_are_split_first_if_eagerly_else_protected(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.write(0, 1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert [p for p in enable.points if p in (points.SPLIT_ALLOC, points.SPLIT_LINK, points.LOG_CLEAR)] == [
        *[points.SPLIT_ALLOC, points.SPLIT_LINK],
        *[points.LOG_CLEAR] * 4,
    ]
    assert stage.level(1) == 1

    stage = Stage(semantics, backing=("thp", "anon"), eager_split=False)
    stage.write(0, 1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    protecting = [points.LOG_CLEAR, points.LOG_PROTECT]
    assert [point for point in enable.points if point in protecting] == protecting
    assert stage.level(1) == 2
    assert not is_writable_pte(stage.leaf(1))
    # The next write maps one 4K page, split off the huge one: one bit stands for one page.
    assert stage.write(0, 1).faults == [PF_FIXED]
    assert stage.level(1) == 1
    assert [stage.dirty(gfn) for gfn in range(4)] == [False, True, False, False]


@BOTH
def test_the_second_slot_that_logs_finds_pml_on(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    assert points.PML_REQUEST in stage.run(IOCTL, enable_dirty_log(stage.m, 0)).points
    assert points.PML_REQUEST not in stage.run(IOCTL, enable_dirty_log(stage.m, 1)).points
    assert points.PML_REQUEST not in stage.run(IOCTL, disable_dirty_log(stage.m, 0)).points
    assert pml_of_each(stage) == [True, True]
    assert points.PML_REQUEST in stage.run(IOCTL, disable_dirty_log(stage.m, 1)).points
    assert pml_of_each(stage) == [False, False]


@BOTH
def test_a_slot_that_logs_already_is_left_alone(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING)
    assert stage.run(IOCTL, enable_dirty_log(stage.m, 0)).points == [SLOTS_LOCK]
    stage = Stage(semantics)
    assert get(stage).points == [SLOTS_LOCK]
    assert stage.run(IOCTL, disable_dirty_log(stage.m, 0)).points == [SLOTS_LOCK]


# --- PML -------------------------------------------------------------------------------------------------------


@BOTH
def test_pml_logs_the_first_write_after_a_harvest_and_no_other(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING)
    stage.write(0, 1)
    get(stage)
    first = stage.write(0, 1)
    assert first.faults == []
    assert first.count(COUNT_PML) == 1
    assert stage.m.x86_vcpus[0].pml_buffer == [1]
    assert not stage.dirty(1)
    assert stage.write(0, 1).count(COUNT_PML) == 0
    harvest = get(stage)
    assert harvest.points[:2] == [SLOTS_LOCK, points.GET_KICK]
    assert harvested(harvest) == [(0, 0b10)]


@BOTH
def test_a_full_pml_buffer_exits(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING, pml_entries=2)
    for gfn in range(4):
        stage.read(0, gfn)
    get(stage)
    for gfn in range(2):
        stage.write(0, gfn)
    assert stage.m.x86_vcpus[0].pml_buffer == [0, 1]
    stage.write(0, 2)
    # Drained by the exit, then the write was repeated.
    assert stage.m.x86_vcpus[0].pml_buffer == [2]
    assert [stage.dirty(gfn) for gfn in range(4)] == [True, True, False, False]


@BOTH
def test_l2_is_logged_by_write_protection(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING, nested=True)
    stage.m.x86_vcpus[0].guest_mode = True
    stage.write(0, 1)
    get(stage)
    assert not is_writable_pte(stage.leaf(1))
    write = stage.write(0, 1)
    assert write.faults == [PF_FAST]
    assert write.count(COUNT_PML) == 0
    assert stage.dirty(1)


@BOTH
def test_what_a_slot_without_a_log_wrote_is_drained_and_forgotten(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0, logging=True), SlotConfig(4, 4, 4)))
    stage.read(0, 5)
    sp, index = stage.entry(5)
    sp.spt[index] &= ~VMX_EPT_DIRTY_BIT
    stage.m.flush_all()
    assert stage.write(0, 5).count(COUNT_PML) == 1
    get(stage)
    assert stage.m.x86_vcpus[0].pml_buffer == []
    assert stage.violations == []


# --- harvesting ------------------------------------------------------------------------------------------------


@BOTH
def test_get_takes_the_bits_and_flushes_once_for_all_words(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING, paging="ept-ad-nopml")
    for gfn in (1, 3, 6):
        stage.write(0, gfn)
    harvest = get(stage)
    assert harvest.points == [
        *[SLOTS_LOCK, GET_LOCK],
        *[GET_WORD, points.GET_PROTECT, points.GET_PROTECT],
        *[GET_WORD, points.GET_PROTECT],
        *[GET_FLUSH, USER_COPY, USER_COPY],
    ]
    assert harvested(harvest) == [(0, 0b1010), (1, 0b0100)]
    assert harvest.flushes == 1
    again = get(stage)
    assert harvested(again) == []
    assert again.flushes == 0


@BOTH
def test_the_bitmap_decides_about_the_flush_not_the_sptes(semantics: Semantics) -> None:
    """The bit is set, the page no longer mapped: nothing to protect, and a flush all the same."""
    stage = Stage(semantics, slots=LOGGING)
    stage.m.mark_page_dirty_in_slot(stage.m.memslots[0], 2)
    harvest = get(stage)
    assert points.GET_PROTECT not in harvest.points
    assert harvest.flushes == 1


@BOTH
@pytest.mark.parametrize("paging", ["ept-ad", "ept-ad-nopml"])
def test_words_count_from_the_slots_own_first_gfn(paging: str, semantics: Semantics) -> None:
    """A slot aligned to nothing: gfns 3 … 9 are bits 0 … 6, so a word spans two page tables."""
    stage = Stage(semantics, slots=UNALIGNED, paging=paging)
    for gfn in (3, 4, 6, 7, 9):
        stage.write(0, gfn)
    harvest = get(stage)
    assert harvested(harvest) == [(0, 0b1011), (1, 0b0101)]
    assert harvest.points.count(points.GET_PROTECT) == 5
    stage.write(0, 7)
    assert harvested(get(stage)) == [(1, 0b0001)]
    assert stage.final_violations() == []


@BOTH
def test_only_what_was_reported_is_protected(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING, manual_protect=True, paging="ept-ad-nopml")
    for gfn in (1, 2, 6):
        stage.write(0, gfn)
    look = get(stage)
    assert harvested(look) == [(0, 0b0110), (1, 0b0100)]
    assert GET_LOCK not in look.points
    assert look.flushes == 0
    clear = stage.run(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 4))
    assert harvested(clear) == [(0, 0b0110)]
    assert [is_writable_pte(stage.leaf(gfn)) for gfn in (1, 2, 6)] == [False, False, True]
    assert harvested(get(stage)) == [(1, 0b0100)]


@BOTH
def test_clear_takes_only_bits_that_userspace_has_seen(semantics: Semantics) -> None:
    """A page dirtied between GET and CLEAR stays dirty: CLEAR gets the mask of the GET."""
    stage = Stage(semantics, slots=LOGGING, manual_protect=True)
    stage.write(0, 1)
    clear = stage.thread(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 4)).to(points.GET_KICK)
    stage.write(1, 2)
    clear.finish()
    assert harvested(clear) == [(0, 0b0010)]
    assert stage.dirty(2)
    assert stage.final_violations() == []


@BOTH
def test_get_copies_the_bitmap_word_by_word(semantics: Semantics) -> None:
    """Manual protection: no lock is taken, so what is written meanwhile shows, or does not, by where it is."""
    stage = Stage(semantics, slots=LOGGING, manual_protect=True)
    look = stage.thread(IOCTL, kvm_get_dirty_log_protect(stage.m, 0)).to(GET_COPY)
    stage.write(0, 1)
    stage.write(1, 5)
    look.finish()
    assert harvested(look) == [(1, 0b0010)]
    assert stage.dirty(1)
    assert stage.final_violations() == []


@BOTH
def test_clear_of_clean_pages_does_not_flush(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=LOGGING, manual_protect=True)
    clear = stage.run(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 8))
    assert harvested(clear) == []
    assert clear.flushes == 0


# --- INITIALLY_SET ---------------------------------------------------------------------------------------------


@BOTH
def test_initially_set_presets_every_bit_and_touches_nothing(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"), manual_protect=True, initially_set=True)
    stage.write(0, 1)
    before = stage.leaf(1)
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert enable.points == [SLOTS_LOCK, SLOTS_SWAP, SLOTS_SRCU, points.PML_REQUEST, USER_COPY]
    assert enable.flushes == 0
    assert stage.leaf(1) == before
    assert harvested(get(stage)) == [(0, 0b1111), (1, 0b1111)]


@BOTH
def test_the_first_clear_splits_or_protects_the_huge_page(semantics: Semantics) -> None:
    for eager_split in (True, False):
        stage = Stage(
            semantics, backing=("thp", "anon"), manual_protect=True, initially_set=True, eager_split=eager_split
        )
        stage.write(0, 1)
        stage.run(IOCTL, enable_dirty_log(stage.m, 0))
        clear = stage.run(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 4))
        assert (points.GET_SPLIT_LINK in clear.points) == eager_split
        assert clear.flushes == 1
        if not eager_split:
            assert stage.level(1) == 2
            assert not is_writable_pte(stage.leaf(1))
            assert not is_mmu_writable_spte(stage.m.masks, stage.leaf(1))
        stage.write(0, 1)
        assert stage.level(1) == 1
        stage.judge.finish(stage.m)
        assert stage.violations == []


@BOTH
def test_a_mask_over_two_huge_pages_protects_both(semantics: Semantics) -> None:
    """first and last gfn of the mask lie in different ones: gfn 3 … 6 of an unaligned slot."""
    stage = Stage(
        semantics,
        backing=("thp", "thp", "thp"),
        slots=(SlotConfig(base=0, npages=12, hva=0),),
        manual_protect=True,
        initially_set=True,
        eager_split=False,
        word_gfns=8,
    )
    for gfn in (1, 5):
        stage.write(0, gfn)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    stage.run(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 8))
    assert [is_mmu_writable_spte(stage.m.masks, stage.leaf(gfn)) for gfn in (1, 5)] == [False, False]


def test_a_gfn_is_rounded_up() -> None:
    assert [align_up(gfn, 4) for gfn in (0, 1, 4, 5)] == [0, 4, 4, 8]


@pytest.mark.parametrize("gfn", [7, 16])
def test_a_gfn_beside_the_bitmap_is_an_error(gfn: int) -> None:
    """Python would take the last word for one before the first."""
    stage = Stage(slots=(SlotConfig(base=8, npages=8, hva=0, logging=True),))
    slot = stage.m.memslots[0]
    stage.m.mark_page_dirty_in_slot(slot, gfn)
    assert stage.violations == ["bug"]
    assert list(slot.dirty_bitmap) == [0, 0]
