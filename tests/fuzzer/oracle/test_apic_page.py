# SPDX-License-Identifier: GPL-2.0-only
"""What a VMCS points to is judged like what a TLB holds: when an invalidation has begun, and when the guest uses it."""

import pytest

from fuzzer.oracle.apic_page import ApicPage
from reference_mmu.changelog.semantics import OLD
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mmap import munmap
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.operations import MISHAP_NO_MEMORY
from reference_mmu.points import INV_PRIMARY
from reference_mmu.x86 import apic_access_page, unmap
from reference_mmu.x86.points import APIC_ACCESS, APIC_LOCK, APIC_REQUEST
from reference_mmu.x86.vcpu import nested_transition
from tests.apic_stage import HVA, ApicStage, ready
from tests.by_hand import MM

STALE = "stale-apic-page"


def test_accepts_a_page_that_moves_while_the_guest_uses_it() -> None:
    stage = ready()
    thread = stage.use().to(APIC_ACCESS)
    stage.run(MM, migrate_page(stage.m, HVA))
    thread.finish()
    assert stage.final_violations() == []


def test_accepts_a_vcpu_that_renews_the_page_while_the_host_waits_for_the_others() -> None:
    stage = ready()
    host = stage.thread(MM, discard(stage.m, HVA, HVA + 1)).to(APIC_REQUEST)
    thread = stage.use().to(APIC_LOCK)
    host.to(INV_PRIMARY)
    assert not stage.vcpu().apic_page_reload
    host.finish()
    thread.finish()
    assert stage.final_violations() == []


@pytest.mark.reaches("stale-apic-page")
def test_rejects_an_invalidation_that_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = ready()
    monkeypatch.setattr(unmap, "request_apic_page_reload", lambda m: iter(()))
    host = stage.thread(MM, change_protection_numa(stage.m, HVA, HVA + 1)).to(INV_PRIMARY)
    assert stage.violations == [STALE]
    host.finish()


def test_rejects_a_request_that_leaves_the_vcpu_in_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = ready()
    stage.use().to(APIC_ACCESS)
    monkeypatch.setattr(type(stage.m), "kick_all", lambda m: None)
    stage.thread(MM, change_protection_numa(stage.m, HVA, HVA + 1)).to(INV_PRIMARY)
    assert stage.violations == [STALE]


def test_rejects_an_entry_with_a_page_that_was_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = ApicStage()
    stage.create()
    monkeypatch.setattr(apic_access_page, "mmu_invalidate_retry_gfn", lambda kvm, mmu_seq, gfn: False)
    thread = stage.use().to(APIC_LOCK)
    host = stage.thread(MM, change_protection_numa(stage.m, HVA, HVA + 1)).to(INV_PRIMARY)
    stage.vcpu().apic_page_reload = False  # as if it had been asked before
    thread.to(APIC_ACCESS)
    assert stage.violations == [STALE]
    host.finish()


@pytest.mark.reaches("leftover-slot")
def test_rejects_a_memslot_that_a_failed_creation_leaves() -> None:
    """Before apic-page-no-initial-fault-in, which leaves the page to the first use."""
    stage = ApicStage(OLD)
    stage.m.mishaps = MISHAP_NO_MEMORY
    stage.create()
    assert stage.violations == ["leftover-slot"]


def test_rejects_a_page_that_the_process_has_unmapped() -> None:
    """KVM asks for the page once, gets an error, and leaves the VMCS as it is."""
    stage = ready()
    stage.run(MM, munmap(stage.m, HVA))
    assert stage.violations == []
    stage.use().finish()
    assert stage.violations == [STALE]


def test_rejects_an_entry_without_any_page() -> None:
    stage = ApicStage()
    stage.create()
    stage.vcpu().apic_page_reload = False
    stage.use().finish()
    assert stage.violations == [STALE]


def test_rejects_an_entry_while_a_request_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked before it entered does not kick it again."""
    stage = ready()
    thread = stage.use().to(APIC_ACCESS)
    monkeypatch.setattr(type(stage.m), "kick_all", lambda m: None)
    monkeypatch.setattr(ApicPage, "invalidate_started", lambda self, m, hva_start, hva_end: None)
    stage.run(MM, migrate_page(stage.m, HVA))
    assert stage.violations == []
    thread.finish()
    assert stage.violations == [STALE]


def test_legal_to_have_no_apic() -> None:
    stage = ApicStage()
    stage.use(1).finish()
    stage.run(MM, change_protection_numa(stage.m, HVA, HVA + 1))
    assert stage.final_violations() == []


def test_legal_to_know_an_old_page_while_l2_runs_or_as_long_as_a_request_is_up() -> None:
    stage = ready(nested=True)
    stage.run(0, nested_transition(stage.m, stage.vcpu()))
    for _ in range(2):
        stage.run(MM, migrate_page(stage.m, HVA))
    stage.use().finish()
    stage.run(MM, migrate_page(stage.m, HVA))
    assert not stage.loaded()
    assert stage.final_violations() == []


def test_legal_to_invalidate_a_neighbour() -> None:
    stage = ready()
    thread = stage.use().to(APIC_ACCESS)
    stage.run(MM, change_protection_numa(stage.m, HVA + 1, HVA + 2))
    stage.run(MM, change_protection_numa(stage.m, 0, HVA))
    assert not stage.vcpu().apic_page_reload
    thread.finish()
    assert stage.final_violations() == []
