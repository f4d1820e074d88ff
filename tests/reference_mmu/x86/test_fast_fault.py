# SPDX-License-Identifier: GPL-2.0-only
"""fast_page_fault(): what it gives back without a lock, and in which order it stores and logs."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log, kvm_get_dirty_log_protect
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_clear_young,
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.observed import PF_FAST, PF_FIXED, PF_SPURIOUS
from reference_mmu.points import FAULT_ENTER
from reference_mmu.x86.points import COLLAPSE_ZAP, FAULT_SEQ, FPF_MARK, FPF_READ, FPF_STEP
from reference_mmu.x86.spte import SHADOW_NONPRESENT_VALUE, is_accessed_spte, is_writable_pte
from tests.by_hand import IOCTL, MM, Stage
from tests.parameters import BOTH

LOGGING = (SlotConfig(0, 8, 0, logging=True),)


def protected(semantics: Semantics) -> Stage:
    """gfn 1 without W and with its bit clear, as a harvest leaves it; both vCPUs have a root."""
    stage = Stage(semantics, paging="ept-ad-nopml", slots=LOGGING)
    stage.write(0, 1)
    stage.read(1, 2)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    return stage


@pytest.mark.reaches("fast")
@BOTH
def test_w_is_given_back_and_then_logged(semantics: Semantics) -> None:
    stage = protected(semantics)
    writer = stage.access(0, 1, write=True).to(FPF_MARK)
    assert is_writable_pte(stage.leaf(1))
    assert not stage.dirty(1)
    writer.finish()
    assert writer.faults == [PF_FAST]
    assert stage.dirty(1)


@pytest.mark.reaches("spurious")
@BOTH
def test_whoever_comes_second_finds_it_done(semantics: Semantics) -> None:
    stage = protected(semantics)
    second = stage.access(1, 1, write=True).to(FAULT_ENTER)
    stage.write(0, 1)
    assert second.finish().faults == [PF_SPURIOUS]


@BOTH
def test_a_table_that_is_emptied_on_the_way_down_has_nothing_to_give_back(semantics: Semantics) -> None:
    stage = protected(semantics)
    writer = stage.access(1, 1, write=True).to(FPF_STEP).to(FPF_STEP)
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2))
    stage.run(MM, kvm_mmu_notifier_invalidate_range_end(stage.m, 1, 2))
    writer.finish()
    assert FPF_READ not in writer.points
    assert writer.faults == [PF_FIXED]
    assert stage.violations == []


@BOTH
def test_what_is_filled_again_on_the_way_down_is_found(semantics: Semantics) -> None:
    """The vCPU's own TLB entry is all that is old: the SPTE is another one by the time it is read."""
    stage = protected(semantics)
    second = stage.access(1, 1, write=True).to(FPF_STEP)
    stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 1, 2))
    stage.run(MM, kvm_mmu_notifier_invalidate_range_end(stage.m, 1, 2))
    stage.write(0, 1)
    second.finish()
    assert second.faults == [PF_SPURIOUS]
    assert stage.violations == []


def test_the_walk_keeps_the_table_that_it_is_about_to_read() -> None:
    """A collapse unlinks and tears it down meanwhile: its entries are FROZEN, so the fault is not fast."""
    stage = Stage(NEW, paging="ept-ad-nopml", backing=("thp", "anon"), slots=LOGGING)
    stage.write(0, 1)
    stage.read(1, 2)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    table, _ = stage.entry(1)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_ZAP)
    writer = stage.access(1, 1, write=True).to(FPF_STEP).to(FPF_STEP)
    collapse.finish()
    assert (table.unlinked, table.freed) == (True, False)
    writer.to(FAULT_SEQ)
    assert (table.unlinked, table.freed) == (True, True)
    assert FPF_READ not in writer.points
    assert stage.violations == []


@BOTH
def test_a_lost_cmpxchg_reads_again(semantics: Semantics) -> None:
    stage = protected(semantics)
    second = stage.access(1, 1, write=True).to(FPF_READ)
    stage.write(0, 1)
    second.finish()
    assert second.points.count(FPF_READ) == 2
    assert second.faults == [PF_SPURIOUS]


@BOTH
def test_a_zapped_leaf_is_none_of_its_business(semantics: Semantics) -> None:
    stage = protected(semantics)
    writer = stage.access(1, 1, write=True).to(FPF_READ)
    sp, index = stage.entry(1)
    sp.spt[index] = SHADOW_NONPRESENT_VALUE
    writer.to(FAULT_SEQ)
    assert writer.finish().faults == [PF_FIXED]


@BOTH
def test_a_huge_page_of_a_logging_slot_has_to_be_split(semantics: Semantics) -> None:
    stage = Stage(semantics, paging="ept-ad-nopml", backing=("thp", "anon"), eager_split=False)
    stage.write(0, 1)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert stage.level(1) == 2
    assert stage.write(0, 1).faults == [PF_FIXED]
    assert stage.level(1) == 1


@BOTH
def test_an_access_tracked_page_gets_r_and_x_back_and_w_for_a_write(semantics: Semantics) -> None:
    stage = Stage(semantics, paging="ept-noad")
    stage.write(0, 1)
    stage.read(1, 2)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert stage.read(1, 1).faults == [PF_FAST]
    assert is_accessed_spte(stage.m.masks, stage.leaf(1))
    assert not is_writable_pte(stage.leaf(1))
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    stage.m.flush_all()
    assert stage.write(1, 1).faults == [PF_FAST]
    assert is_writable_pte(stage.leaf(1))


@BOTH
def test_with_a_d_bits_a_missing_page_is_not_fast(semantics: Semantics) -> None:
    stage = Stage(semantics)
    reader = stage.read(0, 1)
    assert FPF_READ not in reader.points
    assert reader.faults == [PF_FIXED]


@BOTH
def test_a_page_that_is_not_mmu_writable_takes_the_slow_way(semantics: Semantics) -> None:
    stage = Stage(semantics)
    stage.access(0, 1, upgrade_fails=True).finish()
    writer = stage.write(0, 1)
    assert FPF_READ in writer.points
    assert writer.faults == [PF_FIXED]
