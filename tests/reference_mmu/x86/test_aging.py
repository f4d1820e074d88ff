# SPDX-License-Identifier: GPL-2.0-only
"""Aging: the answer, the flush that went, which roots are asked and how much is looked at."""

import pytest

from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_flush_young,
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_test_young,
)
from reference_mmu.observed import COUNT_CHANGES, COUNT_VISITS, PF_FAST, PF_FIXED
from reference_mmu.points import AGE_FLUSH, AGE_LOCK
from reference_mmu.x86.points import AGE_SPTE, BACK_LOCK
from reference_mmu.x86.spte import is_access_track_spte, is_mmu_writable_spte, is_writable_pte
from reference_mmu.x86.vcpu import async_page_ready
from tests.by_hand import IOCTL, MM, Stage
from tests.parameters import BOTH

# --- the flush -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "flushes"),
    [
        ("no-struct-page", 1),
        ("no-struct-page+age-flush-elision-kconfig", 1),
        ("no-struct-page+age-elides-tlb-flush", 0),
        ("new", 0),
    ],
)
def test_clear_flush_young_flushes_until_x86_elides_it(spec: str, flushes: int) -> None:
    stage = Stage(parse_semantics(spec))
    stage.read(0, 1)
    stage.read(0, 2)
    age = stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 0, 8))
    assert age.young
    assert age.flushes == flushes
    assert (AGE_FLUSH in age.points) == bool(flushes)


@BOTH
def test_nothing_young_nothing_flushed(semantics: Semantics) -> None:
    stage = Stage(semantics)
    age = stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 0, 8))
    assert not age.young
    assert age.points == [AGE_LOCK]


@BOTH
def test_the_others_never_flush(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.read(0, 1)
    for flow in (kvm_mmu_notifier_test_young(stage.m, 1), kvm_mmu_notifier_clear_young(stage.m, 0, 8)):
        age = stage.run(MM, flow)
        assert age.young
        assert age.flushes == 0


# --- what it does to an SPTE -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("paging", ["ept-ad", "npt"])
def test_with_a_d_bits_only_a_goes(paging: str, semantics: Semantics) -> None:
    stage = Stage(semantics, paging=paging)
    stage.write(0, 1)
    before = stage.leaf(1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert stage.leaf(1) == before & ~stage.m.masks.shadow_accessed_mask
    assert not stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1)).young


@BOTH
def test_without_them_the_next_access_faults_and_is_repaired_without_a_lock(semantics: Semantics) -> None:
    stage = Stage(semantics, paging="ept-noad")
    stage.write(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    leaf = stage.leaf(1)
    assert is_access_track_spte(stage.m.masks, leaf)
    assert is_mmu_writable_spte(stage.m.masks, leaf)
    assert not stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1)).young
    # The writer's own entry outlives it; the other vCPU faults.
    assert stage.write(0, 1).points == []
    stage.read(1, 2)
    assert stage.read(1, 1).faults == [PF_FAST]
    assert not is_writable_pte(stage.leaf(1))
    assert stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1)).young
    assert stage.write(1, 1).faults == [PF_FAST]
    assert is_writable_pte(stage.leaf(1))


@BOTH
def test_what_hardware_sets_meanwhile_survives(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.write(0, 1)
    sp, index = stage.entry(1)
    dirty = stage.m.masks.shadow_dirty_mask
    sp.spt[index] &= ~dirty  # as a harvest leaves it
    age = stage.thread(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2)).to(AGE_SPTE)
    sp.spt[index] |= dirty
    age.finish()
    assert stage.leaf(1) & dirty


@BOTH
def test_a_huge_page_is_young_as_a_whole(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("thp", "anon"))
    stage.read(0, 1)
    assert stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 3, 4)).young
    assert not stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1)).young


@BOTH
def test_a_prefetched_page_is_old(semantics: Semantics) -> None:
    for paging in ("ept-ad", "ept-noad"):
        stage = Stage(semantics, paging=paging)
        prefetch = stage.run(0, async_page_ready(stage.m, stage.m.x86_vcpus[0], 1, False, False))
        assert prefetch.faults == [PF_FIXED]
        assert not stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1)).young


# --- which roots, how much -------------------------------------------------------------------------------------


def test_an_invalid_root_is_asked_in_old_and_not_in_new() -> None:
    """The slot is being deleted, the root zapped at leisure, and its leaves still say accessed."""
    answers = []
    for spec in ("old", "no-struct-page+age-valid-roots-only", "new"):
        slots = (SlotConfig(0, 4, 0), SlotConfig(4, 4, 4))
        stage = Stage(parse_semantics(spec), slots=slots)
        stage.read(0, 5)
        stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(BACK_LOCK)
        assert stage.root().invalid
        age = stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 5, 6))
        answers.append((age.young, age.count(COUNT_VISITS), age.count(COUNT_CHANGES)))
    assert answers == [(True, 1, 1), (False, 0, 0), (False, 0, 0)]


def test_a_test_stops_at_the_first_young_root_in_new() -> None:
    """L1 and L2 both map the page: two leaves to look at, of which NEW looks at one."""
    visits = []
    for spec in ("old", "no-struct-page+test-age-early-out", "new"):
        stage = Stage(parse_semantics(spec), nested=True)
        stage.read(0, 1)
        stage.m.x86_vcpus[1].guest_mode = True
        stage.read(1, 1)
        test = stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1))
        assert test.young
        visits.append(test.count(COUNT_VISITS))
    assert visits == [2, 1, 1]


@BOTH
def test_clearing_looks_at_every_root(semantics: Semantics) -> None:
    stage = Stage(semantics, nested=True)
    stage.read(0, 1)
    stage.m.x86_vcpus[1].guest_mode = True
    stage.read(1, 1)
    clear = stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert clear.points.count(AGE_SPTE) == 2
    assert not stage.run(MM, kvm_mmu_notifier_test_young(stage.m, 1)).young


@BOTH
def test_a_range_over_two_slots_takes_the_lock_once_and_flushes_once(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0), SlotConfig(8, 4, 4)))
    stage.read(0, 1)
    stage.read(0, 9)
    age = stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 0, 8))
    assert age.points.count(AGE_LOCK) == 1
    assert age.points.count(AGE_SPTE) == 2
    assert age.flushes == (1 if semantics == OLD else 0)


@BOTH
def test_an_unused_hva_takes_no_lock(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0),))
    age = stage.run(MM, kvm_mmu_notifier_clear_flush_young(stage.m, 4, 8))
    assert age.points == []
    assert not age.young
