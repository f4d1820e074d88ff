# SPDX-License-Identifier: GPL-2.0-only
"""Emulated stores to guest page tables, and the accounts of shadowed tables."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import GuestPte
from reference_mmu.kvm.memslot_update import kvm_create_memslot, kvm_delete_memslot
from reference_mmu.observed import PF_FIXED, PF_INJECTED, PF_WRITE_PROTECTED
from reference_mmu.x86.obsolete import is_obsolete_sp
from reference_mmu.x86.points import EMULATE, GPTE_READ, PTE_WRITE_LOCK, PTE_WRITE_REQUEST, PTE_WRITE_ZAP, WALK_LEAF
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn, kvm_write_track_remove_gfn
from tests.by_hand import DEVICE, IOCTL
from tests.guest_tables import DATA, FREE_GFN, LEAF, OTHER, PTES, ROOT, ROOT_PAGE, TABLES, GuestStage, gpte
from tests.parameters import BOTH


@BOTH
def test_the_sptes_of_a_written_entry_go(semantics: Semantics) -> None:
    stage = GuestStage(semantics)
    stage.read(0, DATA)
    stage.read(1, DATA)
    stage.read(0, ROOT_PAGE)
    store = stage.storing(0, ROOT_PAGE, 0, gpte(TABLES)).to(PTE_WRITE_LOCK)
    # Memory first: until its SPTEs follow, the others go by the old entry.
    assert stage.word(ROOT, 0) == gpte(TABLES)
    assert stage.rights(DATA) == "RWM"
    store.finish()
    assert store.faults == [PF_WRITE_PROTECTED]
    assert store.flushes == 1
    assert stage.rights(DATA) == ""
    assert stage.cached(1, DATA) == 0
    stage.read(1, DATA)
    assert stage.violations == []


def test_an_entry_without_spte_needs_no_flush() -> None:
    stage = GuestStage()
    stage.read(0, ROOT_PAGE)
    store = stage.store_gpte(0, ROOT_PAGE, 3, gpte(LEAF))
    assert store.flushes == 0
    assert PTE_WRITE_ZAP not in store.points


def test_a_plain_store_to_a_table_hits_no_entry() -> None:
    stage = GuestStage()
    stage.read(0, ROOT_PAGE)
    assert stage.write(0, ROOT_PAGE).faults == [PF_WRITE_PROTECTED]
    assert stage.rights(ROOT_PAGE) == "R"
    assert stage.violations == []


def test_the_emulator_walks_for_itself() -> None:
    """Between the fault and the emulation the guest's tables may change."""
    stage = GuestStage()
    stage.read(0, ROOT_PAGE)
    store = stage.storing(0, ROOT_PAGE, 3, gpte(LEAF)).to(GPTE_READ).to(GPTE_READ).to(GPTE_READ)
    stage.set_word(TABLES, 0, gpte(FREE_GFN))
    store.finish()
    assert store.faults == [PF_WRITE_PROTECTED]
    assert (stage.word(ROOT, 3), stage.word(FREE_GFN, 3)) == (0, gpte(LEAF))


def test_what_the_emulator_may_not_write_is_not_written() -> None:
    stage = GuestStage()
    stage.read(0, ROOT_PAGE)
    store = stage.storing(0, ROOT_PAGE, 3, gpte(LEAF)).to(GPTE_READ).to(GPTE_READ).to(GPTE_READ)
    stage.set_word(TABLES, 0, gpte(ROOT, writable=False))
    assert EMULATE not in store.finish().points
    assert stage.word(ROOT, 3) == 0


def flooded() -> GuestStage:
    """vCPU 0 uses a root that vCPU 1, which has another one, has stored to twice."""
    other_root = (GuestPte(FREE_GFN, 0, LEAF, accessed=True, dirty=True), GuestPte(FREE_GFN, 1, TABLES, accessed=True))
    stage = GuestStage(ptes=(*PTES, *other_root))
    stage.read(0, DATA)
    stage.load_cr3(1, FREE_GFN)
    stage.read(1, ROOT_PAGE)
    for index in (2, 3):
        stage.store_gpte(1, ROOT_PAGE, index, gpte(LEAF))
    return stage


def test_users_of_a_flooded_root_are_asked_to_leave_and_then_waited_for() -> None:
    stage = flooded()
    user = stage.m.x86_vcpus[0]
    reader = stage.access(0, OTHER).to(WALK_LEAF)
    store = stage.storing(1, ROOT_PAGE, 3, 0).to(PTE_WRITE_REQUEST)
    assert (user.free_obsolete_roots, user.kicked) == (True, False)
    store.step()
    assert (user.free_obsolete_roots, user.kicked) == (True, True)
    store.finish()
    reader.finish()
    assert stage.violations == []


def test_write_flooding_ends_the_shadow_page() -> None:
    """The third store without a walk in between: most likely the guest uses the page for something else."""
    stage = flooded()
    root = stage.root()
    assert not is_obsolete_sp(stage.m, root)
    stage.store_gpte(1, ROOT_PAGE, 3, 0)
    assert is_obsolete_sp(stage.m, root)
    assert stage.m.x86_vcpus[0].free_obsolete_roots
    stage.read(0, DATA)
    assert stage.root() is not root
    assert root.freed
    assert stage.violations == []


def test_a_table_by_which_it_is_written_is_in_use() -> None:
    stage = GuestStage()
    stage.read(0, ROOT_PAGE)
    root = stage.root()
    for index in (2, 3, 2, 3):
        stage.store_gpte(0, ROOT_PAGE, index, gpte(LEAF))
    assert not is_obsolete_sp(stage.m, root)
    assert stage.violations == []


# --- accounts --------------------------------------------------------------------------------------------------


def test_device_and_shadow_page_track_apart() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.run(DEVICE, kvm_write_track_remove_gfn(stage.m, ROOT))
    assert stage.m.kvm_gfn_is_write_tracked(ROOT)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, ROOT))
    stage.run(DEVICE, kvm_write_track_remove_gfn(stage.m, ROOT))
    stage.run(DEVICE, kvm_write_track_remove_gfn(stage.m, ROOT))
    assert stage.m.kvm_gfn_is_write_tracked(ROOT)


@BOTH
@pytest.mark.parametrize("quirk", [True, False])
def test_a_deleted_slot_takes_its_shadow_pages_along(quirk: bool, semantics: Semantics) -> None:
    stage = GuestStage(semantics, zap_all_quirk=quirk)
    stage.write(0, DATA)
    stage.store_gpte(0, 5, DATA, gpte(7))
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert stage.m.indirect_shadow_pages == 0
    assert stage.m.tracked_gfns == {}
    # CR3 points to no memory: a dummy root, and every access is the guest's own fault.
    assert stage.read(0, DATA).faults == [PF_INJECTED]
    assert stage.root() is stage.m.dummy_root
    stage.run(IOCTL, kvm_create_memslot(stage.m, 0))
    assert stage.read(0, OTHER).faults[-1] == PF_FIXED
    assert stage.root() is not stage.m.dummy_root
    assert stage.violations == []
