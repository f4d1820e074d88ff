# SPDX-License-Identifier: GPL-2.0-only
"""Requests: each vCPU answers them before it enters the guest, while those who asked wait for the others."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.x86.points import PML_REQUEST, TRACK_FLUSH, WALK_FILL
from reference_mmu.x86.vcpu import vcpu_enter_guest
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, IOCTL, Stage, Thread
from tests.parameters import BOTH


def flushing(semantics: Semantics) -> tuple[Stage, Thread]:
    """Both vCPUs have page 1 cached, and a device that tracks it waits for the flush."""
    stage = Stage(semantics)
    stage.write(0, 1)
    stage.write(1, 1)
    return stage, stage.thread(DEVICE, kvm_write_track_add_gfn(stage.m, 1)).to(TRACK_FLUSH)


@BOTH
def test_a_vcpu_in_the_guest_goes_on_with_what_it_has_cached(semantics: Semantics) -> None:
    stage, tracker = flushing(semantics)
    assert stage.write(1, 1).points == []
    assert stage.cached(1, 1) & TLB_W
    tracker.finish()
    assert stage.cached(1, 1) == 0
    assert stage.violations == []


@BOTH
def test_who_has_answered_keeps_what_it_caches_afterwards(semantics: Semantics) -> None:
    """vCPU 1 faults on something else, flushes before it enters again, and is not thrown out a second time."""
    stage, tracker = flushing(semantics)
    vcpu = stage.m.x86_vcpus[1]
    stage.m.srcu.lock(1)  # as in an exit that needs no mmu_lock
    stage.m.vm_exit(vcpu)
    stage.m.srcu.unlock(1)
    walk = stage.access(1, 1).to(WALK_FILL)
    assert not vcpu.tlb_flush
    assert stage.m.x86_vcpus[0].tlb_flush
    exits = int(vcpu.exits)
    tracker.finish()
    assert vcpu.exits == exits
    assert stage.cached(1, 1) != 0
    assert stage.cached(1, 1) & TLB_W == 0
    walk.finish()
    assert [stage.cached(0, 1), stage.m.x86_vcpus[0].tlb_flush] == [0, False]
    assert stage.violations == []


@BOTH
def test_two_flushes_at_once_are_answered_together(semantics: Semantics) -> None:
    stage, tracker = flushing(semantics)
    stage.m.request_tlb_flush()
    tracker.finish()
    assert not any(vcpu.tlb_flush for vcpu in stage.m.x86_vcpus)
    exits = [int(vcpu.exits) for vcpu in stage.m.x86_vcpus]
    stage.m.await_tlb_flush()
    assert [vcpu.exits for vcpu in stage.m.x86_vcpus] == exits


def pml_of_each(stage: Stage) -> list[bool]:
    """With which setting of PML each vCPU runs the guest."""
    for vcpu in stage.m.x86_vcpus:
        stage.run(int(vcpu.number), vcpu_enter_guest(stage.m, vcpu))
    return [vcpu.pml_enabled for vcpu in stage.m.x86_vcpus]


@BOTH
def test_each_vcpu_switches_pml_for_itself_while_others_are_waited_for(semantics: Semantics) -> None:
    """vCPU 1 takes an exit before it is thrown out, and logs from then on; vCPU 0 is still in the guest without."""
    stage = Stage(semantics)
    stage.write(0, 1)
    enable = stage.thread(IOCTL, enable_dirty_log(stage.m, 0)).to(PML_REQUEST)
    stage.read(0, 1)
    stage.write(1, 2)
    assert [vcpu.pml_enabled for vcpu in stage.m.x86_vcpus] == [False, True]
    enable.finish()
    assert pml_of_each(stage) == [True, True]
    assert stage.final_violations() == []
