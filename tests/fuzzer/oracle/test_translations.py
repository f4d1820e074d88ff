# SPDX-License-Identifier: GPL-2.0-only
"""Stale translations: judged when mmu_lock is released, by what is in the TLBs, never by whether a flush was called."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log, kvm_clear_dirty_log_protect
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.points import GET_FLUSH, INV_FLUSH
from reference_mmu.x86.points import (
    COLLAPSE_FLUSH,
    COLLAPSE_ZAP,
    FAULT_PFN,
    GET_PROTECT,
    ITER_FLUSH,
    ITER_RELOCK_W,
    ZAP_LEAF,
)
from reference_mmu.x86.spte import (
    PAGE_SHIFT,
    PT_WRITABLE_MASK,
    SHADOW_NONPRESENT_VALUE,
    is_mmu_writable_spte,
    is_writable_pte,
)
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, IOCTL, MM, Stage
from tests.deaf import Deaf
from tests.parameters import BOTH, EVERY_MMU_OF_BOTH

# --- accepts ---------------------------------------------------------------------------------------------------


@EVERY_MMU_OF_BOTH
def test_accepts_an_invalidation_that_flushes(mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu)
    stage.write(0, 1)
    stage.write(1, 1)
    invalidation = stage.run(MM, change_protection_numa(stage.m, 1, 2))
    assert invalidation.flushes == 1
    assert stage.cached(0, 1) == stage.cached(1, 1) == 0
    assert stage.violations == []


def test_accepts_a_yield_that_flushes_first() -> None:
    stage = Stage()
    for gfn in range(8):
        stage.write(0, gfn)
    stage.m.resched = 0b10
    zap = stage.run(MM, change_protection_numa(stage.m, 0, 8))
    assert ITER_FLUSH in zap.points
    assert zap.flushes == 2
    assert stage.violations == []


def test_accepts_staleness_until_mmu_lock_is_released() -> None:
    """Between the change and the flush of the same flow a vCPU may go on using what it has."""
    stage = Stage()
    stage.write(1, 1)
    zap = stage.thread(MM, change_protection_numa(stage.m, 1, 2)).to(INV_FLUSH)
    assert stage.leaf(1, vcpu=1) == 0
    assert stage.cached(1, 1) != 0
    stage.read(1, 1)
    zap.finish()
    assert stage.violations == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("stale-translation")
def test_rejects_a_zap_without_a_flush() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.m.write_lock()
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    assert stage.violations == []
    stage.m.write_unlock()
    assert stage.violations == ["stale-translation"]


def test_rejects_a_vcpu_that_missed_the_flush() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.write(1, 1)
    stage.m.x86_vcpus[1].tlb = Deaf(stage.m.x86_vcpus[1].tlb)
    zap = stage.thread(MM, change_protection_numa(stage.m, 1, 2)).to(INV_FLUSH)
    assert stage.violations == []
    zap.step()
    assert stage.violations[0] == "stale-translation"
    assert stage.judge.violations["stale-translation"].uid == zap.uid


def test_rejects_a_flush_that_comes_before_the_last_zap() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.write(0, 2)
    stage.m.write_lock()
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    stage.m.flush_all()
    stage.store(2, SHADOW_NONPRESENT_VALUE)
    # Whatever filled it again before the second zap.
    stage.m.x86_vcpus[0].tlb.put(stage.m.tlb_key(2, 1), 2 << PAGE_SHIFT | TLB_W)
    stage.m.write_unlock()
    assert stage.violations == ["stale-translation"]


def test_rejects_another_page_under_the_same_gfn() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.store_and_unlock(1, stage.leaf(1) + (1 << PAGE_SHIFT))
    assert stage.violations == ["stale-translation"]


def test_rejects_a_writable_entry_without_mmu_writable() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.store_and_unlock(1, stage.leaf(1) & ~(PT_WRITABLE_MASK | stage.m.masks.shadow_mmu_writable_mask))
    assert stage.violations == ["stale-writable-mmuw"]


@pytest.mark.reaches("stale-writable-mmuw")
def test_rejects_a_fault_that_takes_mmu_writable_away_unless_it_flushes() -> None:
    """Bug 219588: a read fault whose upgrade failed replaces what a write fault has installed meanwhile."""
    verdicts = []
    for semantics in (OLD, NEW):
        stage = Stage(semantics)
        reader = stage.access(0, 1, upgrade_fails=True).to(FAULT_PFN)
        stage.write(1, 1)
        reader.finish()
        assert not is_mmu_writable_spte(stage.m.masks, stage.leaf(1))
        verdicts.append((stage.violations, reader.flushes, reader.warnings, stage.cached(1, 1) & TLB_W))
    assert verdicts == [(["stale-writable-mmuw"], 0, 0, TLB_W), ([], 1, 1, 0)]


@BOTH
def test_rejects_a_yield_between_two_slots_of_one_notifier_range(semantics: Semantics) -> None:
    """A hole of both: every slot's walk starts without knowing of the flush that the one before it left pending, so
    a yield in the second drops mmu_lock early. Another invalidation of the first slot would find nothing to flush."""
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    stage.write(0, 1)
    stage.read(0, 5)
    stage.m.resched = 0b10
    zap = stage.thread(MM, change_protection_numa(stage.m, 0, 8)).to(ITER_RELOCK_W)
    assert ITER_FLUSH not in zap.points
    assert stage.cached(0, 1) != 0
    assert stage.violations == ["stale-translation"]


def test_rejects_a_shadow_mmu_zap_without_a_flush() -> None:
    stage = Stage(mmu="shadow")
    stage.write(0, 1)
    stage.store_and_unlock(1, SHADOW_NONPRESENT_VALUE)
    assert stage.violations[0] == "stale-translation"


def test_blames_the_actor_that_lets_go_of_the_lock() -> None:
    """Another reader's unlock in between says nothing: it changed nothing."""
    stage = Stage()
    stage.write(0, 1)
    m = stage.m
    m.actor = 2
    m.read_lock()
    m.actor = 1
    m.read_lock()
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    m.actor = 2
    m.read_unlock()
    assert stage.violations == []
    m.actor = 1
    m.read_unlock()
    assert stage.violations == ["stale-translation"]


# --- legal, though it looks wrong ------------------------------------------------------------------------------


@BOTH
def test_legal_a_writable_entry_whose_spte_lost_w_to_access_tracking(semantics: Semantics) -> None:
    """MMU_WRITABLE stays, so write tracking will flush when it comes."""
    stage = Stage(semantics, paging="ept-noad")
    stage.write(0, 1)
    stage.run(MM, kvm_mmu_notifier_clear_young(stage.m, 1, 2))
    assert not is_writable_pte(stage.leaf(1))
    assert stage.cached(0, 1) & TLB_W
    assert stage.write(0, 1).points == []
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    assert stage.cached(0, 1) == 0
    assert stage.violations == []


def test_legal_a_writable_entry_until_the_log_flushes() -> None:
    """Logging takes W under one hold of mmu_lock and flushes after another."""
    stage = Stage(paging="ept-ad-nopml")
    stage.write(0, 1)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert stage.cached(0, 1) == 0
    assert stage.violations == []


def test_legal_small_entries_under_a_huge_spte() -> None:
    """NEW zaps a table, a vCPU maps the huge page, and the other still has the 4K entry: the same translation."""
    stage = Stage(NEW, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),))
    stage.write(0, 1)
    stage.write(1, 1)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_FLUSH)
    stage.read(0, 2)
    assert stage.level(1) == 2
    assert stage.cached(1, 1) != 0
    assert stage.judge.facts == {"huge-before-flush": 3}
    collapse.finish()
    assert stage.violations == []


def test_legal_a_huge_entry_over_split_sptes() -> None:
    """Eager splitting does not flush: the pieces translate as the huge page did."""
    stage = Stage(backing=("thp", "anon"), paging="ept-ad-nopml")
    stage.read(0, 1)
    assert stage.level(1) == 2
    enable = stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert enable.flushes == 1
    assert stage.level(1) == 1
    assert stage.violations == []


@BOTH
def test_legal_any_entry_of_a_root_that_nobody_can_enter(semantics: Semantics) -> None:
    """Memslot deletion zaps invalid roots without a flush; whoever had one loaded flushes before entering."""
    stage = Stage(semantics)
    stage.write(0, 1)
    deletion = stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert deletion.flushes == 0
    assert stage.cached(0, 1) != 0
    assert stage.violations == []


def test_legal_an_entry_with_fewer_rights_than_the_spte() -> None:
    stage = Stage()
    stage.access(0, 1, upgrade_fails=True).finish()
    stage.write(1, 1)
    assert is_writable_pte(stage.leaf(1))
    assert stage.cached(0, 1) & TLB_W == 0
    stage.run(MM, migrate_page(stage.m, 1))
    assert stage.violations == []


def test_legal_a_harvest_that_protects_a_huge_page_and_flushes_after_the_lock() -> None:
    """This is exempt: MMU_WRITABLE of a huge page goes under mmu_lock, the flush of the ioctl comes later."""
    stage = Stage(
        backing=("thp", "anon"), paging="ept-ad-nopml", manual_protect=True, initially_set=True, eager_split=False
    )
    stage.write(0, 1)
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    assert stage.level(1) == 2
    clear = stage.thread(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 4)).to(GET_FLUSH)
    assert stage.m.mmu_lock.state == 0
    assert not is_mmu_writable_spte(stage.m.masks, stage.leaf(1))
    assert stage.cached(0, 1) & TLB_W
    assert GET_PROTECT not in clear.points  # no 4K leaf to protect
    clear.finish()
    assert stage.violations == []


def test_legal_rcu_and_lock_are_left_in_any_order_once_all_is_flushed() -> None:
    stage = Stage(NEW, backing=("thp", "thp"), slots=(SlotConfig(0, 8, 0, logging=True),))
    stage.write(0, 1)
    stage.write(0, 5)
    collapse = stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    assert collapse.points.count(COLLAPSE_ZAP) == 2
    assert collapse.flushes == 1
    assert ZAP_LEAF not in collapse.points
    assert stage.violations == []
