# SPDX-License-Identifier: GPL-2.0-only
"""The APIC access page is there before a guest needs it, and every VMCS is renewed before it points elsewhere."""

import pytest

from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.kvm.memslot_update import kvm_move_memslot
from reference_mmu.mm.errno import EEXIST, EFAULT
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import COUNT_ACCESSED_MARKS, COUNT_GUP, COUNT_PAGE_REFERENCES, EV_ERRNO, EV_SHIFT
from reference_mmu.operations import MISHAP_KILLED, MISHAP_NO_MEMORY
from reference_mmu.points import INV_PRIMARY
from reference_mmu.x86.apic_access_page import APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, kvm_vcpu_reload_apic_access_page
from reference_mmu.x86.points import APIC_ACCESS, APIC_AGAIN, APIC_FAULT_IN, APIC_LOCK, APIC_RELEASE, APIC_SEQ
from reference_mmu.x86.vcpu import nested_transition, vcpu_enter_guest
from tests.apic_stage import GFN, HVA, ApicStage, ready
from tests.by_hand import MM, VALUE, Thread

LATER = Semantics(closure(["apic-page-no-initial-fault-in"]))
HELD = Semantics(closure(["vmx-apic-page-hold-mmu-lock"]))
EITHER = pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])


def errnos(thread: Thread) -> list[int]:
    return [event & VALUE for event in thread.events() if event >> EV_SHIFT == EV_ERRNO]


def numbers(stage: ApicStage) -> list[int]:
    return [int(slot.number) for slot in stage.m.memslots]


# --- creation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("semantics", "is_there"), [(OLD, True), (LATER, False)], ids=["old", "later"])
def test_creation_faults_the_page_in_or_leaves_that_to_the_first_use(semantics: Semantics, is_there: bool) -> None:
    stage = ApicStage(semantics)
    thread = stage.create()
    assert (stage.pfn >= 0) == is_there
    assert (APIC_FAULT_IN in thread.points) == is_there
    assert (thread.count(COUNT_GUP), thread.count(COUNT_PAGE_REFERENCES)) == ((2, 1) if is_there else (0, 0))
    assert numbers(stage) == [0, APIC_ACCESS_PAGE_PRIVATE_MEMSLOT]
    stage.use().finish()
    assert stage.loaded()
    assert stage.page.kvm_refs == 0


@EITHER
def test_the_first_vcpu_makes_the_memslot_for_all(semantics: Semantics) -> None:
    stage = ApicStage(semantics)
    for vcpu in range(2):
        assert errnos(stage.create(vcpu)) == []
        stage.use(vcpu).finish()
    assert stage.loaded(0)
    assert stage.loaded(1)
    assert numbers(stage) == [0, APIC_ACCESS_PAGE_PRIVATE_MEMSLOT]


@pytest.mark.parametrize(
    ("semantics", "errors"), [(OLD, [[EFAULT], [EEXIST]]), (LATER, [[], []])], ids=["old", "later"]
)
def test_a_memslot_whose_page_was_not_to_be_had_is_in_the_way(semantics: Semantics, errors: list[list[int]]) -> None:
    stage = ApicStage(semantics)
    stage.m.mishaps = MISHAP_KILLED
    assert errnos(stage.create(0)) == errors[0]
    stage.m.mishaps = 0
    assert errnos(stage.create(1)) == errors[1]
    assert stage.vcpu(1).virtualizes_apic_accesses == (errors[1] == [])
    assert not stage.m.slots_lock


@pytest.mark.parametrize(
    ("semantics", "kind", "errors"),
    [(OLD, "untouched", [EFAULT]), (OLD, "anon", []), (LATER, "untouched", [])],
    ids=["old", "old-mapped", "later"],
)
def test_without_memory_for_the_page_the_memslot_stays(semantics: Semantics, kind: str, errors: list[int]) -> None:
    stage = ApicStage(semantics, kind)
    stage.m.mishaps = MISHAP_NO_MEMORY
    assert errnos(stage.create(0)) == errors
    assert ("leftover-slot" in stage.violations) == (errors != [])


@EITHER
def test_a_memslot_of_userspace_is_in_the_way(semantics: Semantics) -> None:
    stage = ApicStage(semantics)
    stage.run(4, kvm_move_memslot(stage.m, 0, GFN - 1))
    assert errnos(stage.create()) == [EEXIST]
    assert "leftover-slot" not in stage.violations
    assert numbers(stage) == [0]
    assert not stage.vcpu().virtualizes_apic_accesses


# --- the request -----------------------------------------------------------------------------------------------------


@EITHER
def test_a_vcpu_without_an_apic_asks_for_no_page(semantics: Semantics) -> None:
    stage = ready(semantics)
    stage.run(MM, migrate_page(stage.m, HVA))
    assert stage.vcpu(1).apic_page_reload
    assert APIC_SEQ not in stage.use(1).finish().points
    assert not stage.vcpu(1).apic_page_reload
    assert stage.vcpu(1).apic_access_addr < 0


@EITHER
def test_a_page_that_moves_is_looked_up_again_before_the_guest_is_entered(semantics: Semantics) -> None:
    stage = ready(semantics)
    before = stage.pfn
    stage.run(MM, migrate_page(stage.m, HVA))
    assert stage.pfn != before
    assert stage.vcpu().apic_access_addr == before
    stage.read(0, 0)
    assert stage.loaded()
    assert "stale-apic-page" not in stage.violations


@EITHER
def test_whoever_is_in_the_guest_leaves_it(semantics: Semantics) -> None:
    stage = ready(semantics)
    thread = stage.use().to(APIC_ACCESS)
    stage.run(MM, migrate_page(stage.m, HVA))
    assert stage.vcpu().kicked
    assert thread.finish().points.count(APIC_ACCESS) == 2
    assert stage.loaded()
    assert "stale-apic-page" not in stage.violations


def test_memory_of_the_guest_is_none_of_its_business() -> None:
    stage = ready()
    stage.run(MM, change_protection_numa(stage.m, 0, HVA))
    assert not stage.vcpu().apic_page_reload


def test_l2_runs_on_and_l1_gets_the_page_when_it_is_back() -> None:
    stage = ready(nested=True)
    stage.run(0, nested_transition(stage.m, stage.vcpu()))
    stage.run(MM, migrate_page(stage.m, HVA))
    stage.run(0, vcpu_enter_guest(stage.m, stage.vcpu()))
    assert not stage.loaded()
    assert stage.vcpu().reload_vmcs01_apic_access_page
    stage.run(0, nested_transition(stage.m, stage.vcpu()))
    assert stage.loaded()
    assert not stage.vcpu().reload_vmcs01_apic_access_page
    assert stage.final_violations() == []


# --- the look-up -----------------------------------------------------------------------------------------------------


@EITHER
def test_a_stale_page_gets_into_no_vmcs(semantics: Semantics) -> None:
    stage = ApicStage(semantics)
    stage.create()
    thread = stage.use().to(APIC_LOCK)
    stage.run(MM, change_protection_numa(stage.m, HVA, HVA + 1))
    thread.to(APIC_AGAIN)
    assert stage.vcpu().apic_access_addr < 0
    assert stage.vcpu().apic_page_reload
    assert stage.page.kvm_refs == 0
    assert thread.finish().count(COUNT_ACCESSED_MARKS) == 2
    assert stage.loaded()


@EITHER
def test_it_is_stale_as_long_as_the_invalidation_is_in_progress(semantics: Semantics) -> None:
    stage = ready(semantics)
    host = stage.thread(MM, change_protection_numa(stage.m, HVA, HVA + 1)).to(INV_PRIMARY)
    guest = stage.use().to(APIC_AGAIN)
    assert not guest.can_run()
    host.finish()
    assert stage.vcpu().apic_page_reload
    guest.finish()
    assert not stage.vcpu().apic_page_reload
    assert stage.loaded()
    assert "stale-apic-page" not in stage.violations


@pytest.mark.parametrize(("semantics", "is_late"), [(OLD, True), (HELD, False)], ids=["old", "held"])
def test_the_page_is_marked_and_put_before_mmu_lock_is_released_or_after(semantics: Semantics, is_late: bool) -> None:
    stage = ApicStage(semantics)
    stage.create()
    thread = stage.use().to(APIC_RELEASE if is_late else APIC_ACCESS)
    assert stage.loaded()
    assert (stage.page.kvm_refs, stage.page.accessed) == ((1, 0) if is_late else (0, 1))
    thread.finish()
    assert (stage.page.kvm_refs, stage.page.accessed, stage.page.dirty) == (0, 1, False)
    assert stage.final_violations() == (["late-page-mark"] if is_late else [])


@EITHER
@pytest.mark.parametrize("is_there", [False, True])
def test_without_a_usable_memslot_the_vmcs_stays_as_it_is(semantics: Semantics, is_there: bool) -> None:
    stage = ApicStage(semantics)
    stage.create()
    slot = stage.m.memslots.pop()
    if is_there:
        slot.invalid = True
        stage.m.memslots.append(slot)
    thread = stage.run(0, kvm_vcpu_reload_apic_access_page(stage.m, stage.vcpu()))
    assert thread.points == []
    assert stage.vcpu().apic_access_addr < 0
    assert stage.m.srcu.inside[0] == 0


@EITHER
def test_whoever_is_killed_has_no_apic_any_more(semantics: Semantics) -> None:
    stage = ready(semantics, kind="anon")
    stage.run(MM, migrate_page(stage.m, HVA))
    stage.m.host.pte[HVA] = -1
    stage.m.mishaps = MISHAP_KILLED
    stage.use().finish()
    assert not stage.vcpu().virtualizes_apic_accesses
    assert "stale-apic-page" not in stage.violations


@pytest.mark.reaches("warn")
def test_memory_without_a_struct_page_is_warned_of() -> None:
    """Whoever maps a device where KVM had put its page."""
    stage = ApicStage(kind="anon")
    stage.m.host.set_kind(2, "pfnmap-nostruct")
    stage.create()
    assert stage.use().finish().warnings == 1
    assert stage.loaded()
