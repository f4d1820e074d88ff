# SPDX-License-Identifier: GPL-2.0-only
"""Walks give mmu_lock up to those who wait: what they have flushed, and freed, by then."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.points import USER_COPY
from reference_mmu.x86.points import FRONT_FLUSH, FRONT_REQUEST, ITER_FLUSH, ITER_RELOCK_W, ZAP_LEAF
from reference_mmu.x86.resched import rwlock_needbreak
from reference_mmu.x86.spte import is_writable_pte
from reference_mmu.x86.zap_all_fast import kvm_mmu_zap_memslot_pages_and_flush
from tests.by_hand import DEVICE, IOCTL, MM, Stage, is_freed
from tests.guest_tables import DATA, LEAF, TABLES, TABLES_PAGE, GuestStage
from tests.parameters import BOTH


def shadow_stage(semantics: Semantics, **config: object) -> Stage:
    """Pages 1 and 5 are mapped, with their neighbours."""
    stage = Stage(semantics, mmu="shadow", **config)
    stage.write(0, 1)
    stage.write(1, 5)
    return stage


def test_a_region_comes_up_once() -> None:
    stage = Stage()
    stage.m.resched = 0b101
    assert [rwlock_needbreak(stage.m, gfn) for gfn in (0, 1, 4, 8, 9)] == [True, False, False, True, False]
    assert stage.m.resched == 0


@BOTH
def test_what_was_zapped_is_flushed_before_mmu_lock_goes(semantics: Semantics) -> None:
    stage = shadow_stage(semantics)
    stage.m.resched = 0b10
    zap = stage.thread(MM, change_protection_numa(stage.m, 1, 6)).to(ITER_RELOCK_W)
    assert zap.points.count(ZAP_LEAF) == 4
    assert [stage.cached(0, 1), stage.level(1), stage.level(5)] == [0, 0, 1]
    zap.finish()
    assert stage.level(5) == 0
    assert zap.points.count(ITER_FLUSH) == 1
    assert zap.flushes == 2
    assert stage.final_violations() == []


@BOTH
def test_protecting_a_slot_leaves_the_flush_to_the_end(semantics: Semantics) -> None:
    stage = shadow_stage(semantics, paging="ept-ad-nopml")
    stage.m.resched = 0b11
    enable = stage.thread(IOCTL, enable_dirty_log(stage.m, 0)).to(ITER_RELOCK_W)
    assert ITER_FLUSH not in enable.points
    assert [is_writable_pte(stage.leaf(gfn)) for gfn in (1, 5)] == [True, True]
    enable.to(ITER_RELOCK_W)
    assert [is_writable_pte(stage.leaf(gfn)) for gfn in (1, 5)] == [False, True]
    assert stage.cached(0, 1) & TLB_W
    enable.to(USER_COPY)
    assert enable.flushes == 1
    enable.finish()
    assert stage.final_violations() == []


@BOTH
def test_collapsing_flushes_what_it_has_zapped(semantics: Semantics) -> None:
    slots = (SlotConfig(0, 8, 0, logging=True),)
    stage = shadow_stage(semantics, backing=("thp", "thp"), slots=slots)
    stage.m.resched = 0b10
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(ITER_RELOCK_W)
    assert [stage.level(1), stage.level(5)] == [0, 1]
    assert stage.cached(0, 1) == 0
    collapse.finish()
    assert stage.level(5) == 0
    assert collapse.flushes == 2
    assert stage.final_violations() == []


@BOTH
def test_shadow_pages_of_a_slot_are_freed_before_mmu_lock_goes(semantics: Semantics) -> None:
    """Nobody else knows of those on the list."""
    stage = GuestStage(semantics, zap_all_quirk=False)
    stage.write(0, DATA)
    stage.read(0, TABLES_PAGE)
    leaf, tables = stage.shadow_page(LEAF), stage.shadow_page(TABLES)
    stage.m.resched = 0b1
    stage.m.actor = IOCTL
    stage.m.slots_lock = True
    stage.m.write_lock()
    zap = stage.thread(IOCTL, kvm_mmu_zap_memslot_pages_and_flush(stage.m, stage.m.memslots[0], False))
    zap.to(ITER_RELOCK_W)
    # The root has come up so far. It is in use, and has taken the unsync page below it along.
    assert [is_freed(tables), leaf.invalid] == [True, False]
    stage.m.mmu_lock.write_lock(DEVICE)
    stage.m.mmu_lock.write_unlock(DEVICE)
    zap.finish()
    stage.m.actor = IOCTL
    stage.m.write_unlock()
    assert [is_freed(leaf), is_freed(tables)] == [True, True]
    assert zap.points == [FRONT_REQUEST, FRONT_FLUSH, ITER_RELOCK_W, FRONT_FLUSH]
    assert stage.violations == []


@BOTH
def test_a_slot_goes_only_when_nothing_accounts_to_it(semantics: Semantics) -> None:
    stage = GuestStage(semantics, zap_all_quirk=False)
    stage.write(0, DATA)
    stage.m.resched = 0b10
    deletion = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(ITER_RELOCK_W)  # in the walk of the rmaps
    assert stage.rights(DATA) == ""
    deletion.finish()
    assert stage.m.indirect_shadow_pages == 0
    assert stage.final_violations() == []
