# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU makes of a fault that KVM cannot resolve."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD
from reference_mmu.mm.errno import EFAULT, EINTR
from reference_mmu.mm.host import PTE_SWAP
from reference_mmu.observed import PF_ERROR, PF_FIXED, PF_RETRY
from reference_mmu.operations import MISHAP_KILLED, MISHAP_KILLED_NOWAIT, MISHAP_SIGNAL
from reference_mmu.x86.page_fault import KvmPageFault
from reference_mmu.x86.vcpu import kvm_mmu_do_page_fault, vcpu_enter_guest
from tests.host_memory import Memory
from tests.parameters import EVERY_MMU


@pytest.mark.parametrize("write", [False, True])
@EVERY_MMU
def test_a_memory_error_ends_the_access_with_sigbus(mmu: str, write: bool) -> None:
    for semantics in (OLD, NEW):
        memory = Memory("hwpoison", semantics, mmu=mmu)
        assert memory.access(0, 0, write=write).finish().faults == [PF_RETRY]
        assert memory.violations == []


@EVERY_MMU
@pytest.mark.parametrize(
    ("kind", "write", "mishaps", "old", "new"),
    [
        ("swapped", False, 0, 0, 0),
        ("swapped", False, MISHAP_SIGNAL, -EINTR, -EINTR),
        ("anon", False, MISHAP_SIGNAL | MISHAP_KILLED, 0, 0),  # fast GUP is enough
        ("cow", False, MISHAP_SIGNAL, 0, 0),  # nothing to wait for
        ("swapped", False, MISHAP_KILLED, -EFAULT, -EINTR),  # by both tries
        ("swapped", False, MISHAP_KILLED_NOWAIT, -EINTR, -EINTR),
        ("readonly", False, 0, 0, 0),
        ("readonly", True, 0, -EFAULT, -EFAULT),
        ("pfnmap-nostruct", False, MISHAP_KILLED, 0, -EINTR),
        ("pfnmap-unrefcounted", False, 0, -EFAULT, 0),
    ],
)
def test_what_kvm_run_returns(kind: str, write: bool, mishaps: int, old: int, new: int, mmu: str) -> None:
    for semantics, expected in ((OLD, old), (NEW, new)):
        memory = Memory(kind, semantics, mmu=mmu)
        m, vcpu = memory.m, memory.m.x86_vcpus[0]
        memory.run(0, vcpu_enter_guest(m, vcpu))
        m.mishaps = mishaps
        m.srcu.lock(0)
        r = memory.run(0, kvm_mmu_do_page_fault(m, vcpu, KvmPageFault(0, write, False, False, False))).result
        m.srcu.unlock(0)
        assert min(r, 0) == expected
        assert memory.access(0, 0, write=write).finish().faults == ([PF_ERROR] if expected < 0 else [])


def test_the_second_try_reads_what_the_first_did_not_wait_for() -> None:
    for semantics in (OLD, NEW):
        memory = Memory("swapped", semantics)
        assert memory.m.host.pte[0] == PTE_SWAP
        assert memory.read(0, 0).faults == [PF_FIXED]


@pytest.mark.reaches("error")
def test_a_write_that_the_host_refuses_ends_kvm_run_with_an_error() -> None:
    memory = Memory("readonly", NEW)
    assert memory.access(0, 0, write=True).finish().faults == [PF_ERROR]
