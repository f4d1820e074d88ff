# SPDX-License-Identifier: GPL-2.0-only
"""Locks: what is stored, looked up or slept under the wrong ones, and vCPUs that nobody asks to leave a root."""

from collections.abc import Callable

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.kvm.dirty_log import kvm_clear_dirty_log_protect, kvm_get_dirty_log_protect
from reference_mmu.kvm.kvm import Kvm
from reference_mmu.kvm.memslot_update import id_to_memslot, kvm_create_memslot, kvm_delete_memslot, kvm_move_memslot
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_invalidate_begin,
    kvm_mmu_invalidate_end,
    kvm_mmu_invalidate_range_add,
)
from reference_mmu.mm.fork import copy_page_range
from reference_mmu.mm.gup import FOLL_WRITE, faultin_page, fixup_user_fault
from reference_mmu.points import SLOTS_SWAP, USER_COPY
from reference_mmu.x86.points import FRONT_REQUEST, VCPU_UNLOAD
from reference_mmu.x86.roots import kvm_mmu_free_obsolete_roots, kvm_tdp_mmu_alloc_root, mmu_free_tdp_root
from reference_mmu.x86.shadow_mmu.shadow_page import kvm_mmu_prepare_zap_page, mmu_free_root_page
from reference_mmu.x86.spte import PAGE_SHIFT, PT_WRITABLE_MASK, SHADOW_NONPRESENT_VALUE
from reference_mmu.x86.vcpu_arch import Vcpu
from reference_mmu.x86.zap_all_fast import kvm_mmu_zap_all_fast
from tests.by_hand import DEVICE, IOCTL, MM, Stage
from tests.fuzzer.oracle.test_dirty import LOGGING
from tests.parameters import EVERY_MMU, EVERY_MMU_OF_BOTH


def with_obsolete_root(mmu: str) -> tuple[Stage, Vcpu]:
    """vCPU 0 has been told that its root is obsolete, and has not left it yet."""
    stage = Stage(mmu=mmu)
    stage.read(0, 1)
    stage.run(IOCTL, kvm_mmu_zap_all_fast(stage.m))
    assert stage.violations == []
    return stage, stage.m.x86_vcpus[0]


# --- accepts ---------------------------------------------------------------------------------------------------


@EVERY_MMU_OF_BOTH
@pytest.mark.parametrize("quirk", [True, False])
def test_accepts_the_life_of_a_slot(quirk: bool, mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, zap_all_quirk=quirk, slots=LOGGING)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    stage.run(IOCTL, kvm_move_memslot(stage.m, 0, 4))
    stage.write(0, 5)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    stage.run(IOCTL, kvm_create_memslot(stage.m, 0))
    stage.write(1, 1)
    assert stage.final_violations() == []


def test_accepts_a_slot_looked_up_under_srcu() -> None:
    stage = Stage()
    stage.m.actor = DEVICE
    stage.m.srcu.lock(DEVICE)
    assert stage.m.gfn_to_memslot(1) is stage.m.memslots[0]
    assert stage.violations == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("lockdep")
def test_rejects_a_slot_looked_up_without_srcu() -> None:
    stage = Stage()
    stage.m.gfn_to_memslot(1)
    assert stage.violations == ["lockdep"]


def test_rejects_a_slot_of_an_ioctl_without_slots_lock() -> None:
    """SRCU does not keep the bitmap as it is."""
    stage = Stage()
    stage.m.srcu.lock(stage.m.actor)
    id_to_memslot(stage.m, 0)
    assert stage.violations == ["lockdep"]


@pytest.mark.parametrize("lock", ["mmu_lock", "rcu"])
def test_rejects_sleep_in_a_page_fault_of_the_host(lock: str) -> None:
    stage = Stage()
    fault = stage.thread(MM, faultin_page(stage.m, 1, FOLL_WRITE))
    if lock == "rcu":
        stage.m.rcu.lock(MM)
    else:
        stage.m.mmu_lock.read_lock(MM)
    fault.step()
    assert stage.violations == ["lockdep"]


def test_rejects_a_shadow_page_zapped_without_mmu_lock() -> None:
    stage = Stage(mmu="shadow")
    stage.read(0, 1)
    sp, _ = stage.entry(1)
    stage.m.rcu.lock(stage.m.actor)
    kvm_mmu_prepare_zap_page(stage.m, sp, [])
    assert stage.violations[0] == "lockdep"


@pytest.mark.parametrize(
    "step",
    [kvm_mmu_invalidate_begin, lambda m: kvm_mmu_invalidate_range_add(m, 1, 2), kvm_mmu_invalidate_end],
    ids=["begin", "range", "end"],
)
def test_rejects_an_invalidation_counted_under_mmu_lock_for_read(step: Callable[[Kvm], None]) -> None:
    stage = Stage()
    stage.m.mmu_invalidate_range_start = 0
    stage.m.mmu_lock.read_lock(stage.m.actor)
    step(stage.m)
    assert stage.violations == ["lockdep"]


def test_rejects_an_invalidation_of_no_range() -> None:
    stage = Stage()
    stage.m.mmu_lock.write_lock(stage.m.actor)
    kvm_mmu_invalidate_begin(stage.m)
    kvm_mmu_invalidate_end(stage.m)
    assert stage.violations == ["warn"]


def test_rejects_a_search_for_a_root_without_mmu_lock() -> None:
    stage = Stage()
    kvm_tdp_mmu_alloc_root(stage.m, False)
    assert stage.violations == ["lockdep"]


def test_rejects_a_root_dropped_without_mmu_lock() -> None:
    stage = Stage()
    stage.read(0, 1)
    mmu_free_tdp_root(stage.m, stage.root())
    assert stage.violations == ["lockdep"]


def test_rejects_a_vma_without_mmap_lock() -> None:
    stage = Stage(backing=("pfnmap-refcounted", "anon"))
    stage.run(MM, fixup_user_fault(stage.m, 1, True))
    assert stage.violations == ["lockdep"]


def test_rejects_a_fork_that_lets_others_look_pages_up() -> None:
    stage = Stage()
    stage.m.mmap_lock.read_lock(stage.m.actor)
    copy_page_range(stage.m, 0, 4)
    assert stage.violations == ["lockdep"]


def test_rejects_a_root_dropped_under_mmu_lock_for_read() -> None:
    stage = Stage(mmu="shadow")
    stage.read(0, 1)
    root = stage.root()
    stage.m.x86_vcpus[0].root = None
    stage.m.actor = 0
    stage.m.mmu_lock.read_lock(0)
    assert list(mmu_free_root_page(stage.m, root)) == []
    assert stage.violations == ["lockdep"]


@pytest.mark.reaches("obsolete-root")
@EVERY_MMU
def test_rejects_a_vcpu_that_nobody_asks_to_leave_an_obsolete_root(mmu: str) -> None:
    stage = Stage(mmu=mmu)
    stage.read(0, 1)
    zap = stage.thread(IOCTL, kvm_mmu_zap_all_fast(stage.m)).to(FRONT_REQUEST)
    stage.m.x86_vcpus[0].free_obsolete_roots = False
    assert stage.violations == []
    zap.finish()
    assert "obsolete-root" in stage.violations


@EVERY_MMU
def test_rejects_a_vcpu_in_the_guest_that_nobody_makes_leave_an_obsolete_root(mmu: str) -> None:
    """It was asked, but will not look before its next exit."""
    stage, vcpu = with_obsolete_root(mmu)
    vcpu.accessing, vcpu.kicked = True, False
    stage.m.actor = IOCTL
    stage.m.write_lock()
    stage.m.write_unlock()
    assert stage.violations == ["obsolete-root"]


@EVERY_MMU
def test_rejects_a_vcpu_that_enters_the_guest_on_an_obsolete_root(mmu: str) -> None:
    """It has been kicked before and will not be again."""
    stage, vcpu = with_obsolete_root(mmu)
    stage.m.oracle.guest_entered(stage.m, vcpu)
    assert stage.violations == ["obsolete-root"]


@EVERY_MMU
@pytest.mark.reaches("unlocked-store")
def test_rejects_a_store_without_any_lock(mmu: str) -> None:
    stage = Stage(mmu=mmu)
    stage.read(0, 1)
    sp, index = stage.entry(1)
    stage.m.spte_changed(sp, index, sp.spt[index], sp.spt[index])
    assert stage.violations == ["unlocked-store"]


@pytest.mark.parametrize("spte", ["zapped", "fresh", "mmu-writable", "another"])
def test_rejects_more_than_bits_changed_under_rcu_alone(spte: str) -> None:
    stage = Stage()
    stage.read(0, 1)
    sp, index = stage.entry(1)
    old = int(sp.spt[index])
    new = {
        "zapped": int(SHADOW_NONPRESENT_VALUE),
        "fresh": old,
        "mmu-writable": old & ~int(stage.m.masks.shadow_mmu_writable_mask | PT_WRITABLE_MASK),
        "another": old + (1 << PAGE_SHIFT),
    }[spte]
    stage.m.rcu.lock(stage.m.actor)
    stage.m.spte_changed(sp, index, SHADOW_NONPRESENT_VALUE if spte == "fresh" else old, new)
    assert "unlocked-store" in stage.violations


def test_legal_a_bit_cleared_under_rcu_alone_that_was_clear() -> None:
    """The entry was zapped after somebody had read it."""
    stage = Stage()
    stage.read(0, 1)
    sp, index = stage.entry(1)
    stage.m.rcu.lock(stage.m.actor)
    stage.m.spte_changed(sp, index, SHADOW_NONPRESENT_VALUE, SHADOW_NONPRESENT_VALUE)
    assert stage.violations == []


@EVERY_MMU
def test_legal_bits_of_a_leaf_changed_under_rcu_alone(mmu: str) -> None:
    """Whatever flow it is: it is how it stores that counts."""
    stage = Stage(mmu=mmu)
    stage.write(0, 1)
    sp, index = stage.entry(1)
    stage.m.rcu.lock(stage.m.actor)
    stage.m.spte_changed(sp, index, sp.spt[index], sp.spt[index] & ~PT_WRITABLE_MASK)
    assert stage.violations == []


@pytest.mark.reaches("bug")
def test_rejects_a_page_table_freed_twice() -> None:
    stage = Stage(mmu="shadow")
    stage.read(0, 1)
    sp, _ = stage.entry(1)
    for entry in range(stage.m.entries):
        sp.spt[entry] = SHADOW_NONPRESENT_VALUE
    stage.m.free_table(sp)
    assert "bug" not in stage.violations
    stage.m.free_table(sp)
    assert "bug" in stage.violations


@pytest.mark.reaches("obsolete-child")
def test_rejects_an_obsolete_page_table_below_a_current_one() -> None:
    stage = Stage(mmu="shadow")
    stage.read(0, 1)
    child, _ = stage.entry(1)
    parent, at = child.parent_ptes.sptes()[0]
    child.mmu_valid_gen ^= 1
    stage.m.actor = 0
    stage.m.write_lock()
    stage.m.spte_changed(parent, at, SHADOW_NONPRESENT_VALUE, parent.spt[at])
    assert stage.violations == ["obsolete-child"]


# --- legal, though it looks wrong ------------------------------------------------------------------------------


@EVERY_MMU
def test_legal_an_obsolete_root_with_the_request_pending(mmu: str) -> None:
    """Between two operations a vCPU may sit on it for as long as it likes."""
    stage = Stage(NEW, mmu=mmu)
    stage.read(0, 1)
    old = stage.root()
    stage.run(IOCTL, kvm_mmu_zap_all_fast(stage.m))
    assert stage.root() is old
    stage.read(1, 1)
    assert stage.violations == []


@EVERY_MMU
def test_legal_an_obsolete_root_that_is_being_dropped(mmu: str) -> None:
    """The request stays up until the root is gone, while others take and release mmu_lock."""
    stage = Stage(NEW, mmu=mmu)
    stage.read(0, 1)
    stage.run(IOCTL, kvm_mmu_zap_all_fast(stage.m))
    drop = stage.thread(0, kvm_mmu_free_obsolete_roots(stage.m, stage.m.x86_vcpus[0])).to(VCPU_UNLOAD)
    stage.read(1, 1)
    drop.finish()
    assert stage.final_violations() == []


def test_legal_a_fault_during_a_slot_update() -> None:
    """Readers need SRCU alone, whoever has slots_lock."""
    stage = Stage(NEW)
    delete = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(SLOTS_SWAP)
    stage.access(0, 1).step()
    delete.finish()
    stage.read(0, 1)
    assert stage.violations == []


def test_legal_a_harvest_that_lets_go_of_slots_lock_before_userspace_copies() -> None:
    stage = Stage(slots=LOGGING, manual_protect=True, paging="ept-ad")
    stage.write(0, 1)
    clear = stage.thread(IOCTL, kvm_clear_dirty_log_protect(stage.m, 0, 0, 8)).to(USER_COPY)
    assert not stage.m.slots_lock
    stage.run(DEVICE, kvm_get_dirty_log_protect(stage.m, 0))
    clear.finish()
    assert stage.violations == []
