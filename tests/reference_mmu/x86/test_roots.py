# SPDX-License-Identifier: GPL-2.0-only
"""Roots: shared, counted, invalidated and left."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.kvm.memslot_update import kvm_create_memslot, kvm_delete_memslot
from reference_mmu.x86.points import VCPU_LOAD
from reference_mmu.x86.vcpu import nested_transition
from tests.by_hand import IOCTL, Stage, is_freed
from tests.parameters import BOTH, EVERY_MMU_OF_BOTH


@EVERY_MMU_OF_BOTH
def test_vcpus_of_one_role_share_a_root(mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu)
    stage.read(0, 1)
    stage.read(1, 1)
    assert stage.root(0) is stage.root(1)
    assert int(stage.root().root_count) == (3 if mmu == "tdp" else 2)  # the TDP MMU keeps one for itself


@BOTH
def test_l1_and_l2_have_a_root_each_and_nothing_cached_crosses(semantics: Semantics) -> None:
    stage = Stage(semantics, nested=True)
    stage.write(0, 1)
    first = stage.root()
    stage.run(0, nested_transition(stage.m, stage.m.x86_vcpus[0]))
    assert stage.root() is not first
    assert stage.root().guest_mode
    assert stage.cached(0, 1) == 0
    stage.write(0, 1)
    stage.run(0, nested_transition(stage.m, stage.m.x86_vcpus[0]))
    assert stage.root() is first
    assert stage.violations == []


@EVERY_MMU_OF_BOTH
def test_an_obsolete_root_is_replaced_before_the_guest_runs_again(mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu)
    stage.write(0, 1)
    stage.write(1, 1)
    old = stage.root()
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    stage.run(IOCTL, kvm_create_memslot(stage.m, 0))
    assert VCPU_LOAD in stage.read(0, 1).points
    assert stage.root(0) is not old
    assert stage.root(1) is old
    assert not is_freed(old)
    stage.read(1, 1)
    assert stage.root(1) is stage.root(0)
    assert is_freed(old)
    assert stage.violations == []


@BOTH
def test_loading_a_root_flushes_the_vcpus_own_cache(semantics: Semantics) -> None:
    """Why zapping an invalid root needs no flush."""
    stage = Stage(semantics)
    stage.write(0, 1)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert stage.cached(0, 1) != 0
    stage.access(0, 1).to(VCPU_LOAD).step()
    assert stage.cached(0, 1) == 0
    assert stage.m.x86_vcpus[0].structure_cache.items() == []
