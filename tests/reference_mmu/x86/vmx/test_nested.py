# SPDX-License-Identifier: GPL-2.0-only
"""The pages of vmcs12 are mapped while L2 runs, and what L2 wrote to them is known when it has exited."""

import pytest

from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.x86.points import L2_EXIT, L2_RUN
from reference_mmu.x86.vmx.nested import NestedMaps, nested_release_evmcs, run_l2
from tests.host_memory import Memory

APIC_ACCESS, VIRTUAL_APIC, EVMCS = range(3)

SINCE = Semantics(closure(["nvmx-apic-access-page-dirty"]))


def logging(kind: str, semantics: Semantics) -> Memory:
    return Memory(kind, semantics, slots=(SlotConfig(0, 4, 0, logging=True),), unsafe_mappings=True)


@pytest.mark.parametrize(("semantics", "apic_access"), [(OLD, False), (SINCE, True)], ids=["old", "since"])
def test_the_apic_access_page_is_as_dirty_as_the_others(semantics: Semantics, apic_access: bool) -> None:
    memory = logging("shmem", semantics)
    memory.run(0, run_l2(memory.m, APIC_ACCESS, VIRTUAL_APIC, EVMCS))
    assert [memory.dirty(gfn) for gfn in range(4)] == [apic_access, True, True, False]
    assert [memory.page(hva).dirty for hva in range(4)] == [apic_access, True, True, False]
    assert ("lost-dirty-page" in memory.final_violations()) == (not apic_access)


def test_its_pages_are_held_while_l2_runs_and_nothing_is_afterwards() -> None:
    memory = logging("anon", OLD)
    thread = memory.thread(0, run_l2(memory.m, APIC_ACCESS, VIRTUAL_APIC, EVMCS)).to(L2_RUN)
    assert [memory.page(hva).kvm_refs for hva in range(4)] == [1, 1, 1, 0]
    thread.to(L2_EXIT).finish()
    assert [memory.page(hva).kvm_refs for hva in range(4)] == [0, 0, 0, 0]


@pytest.mark.parametrize("missing", [0, 1, 2], ids=["apic access", "virtual apic", "evmcs"])
def test_l2_runs_without_its_virtual_apic_page_only(missing: int) -> None:
    memory = logging("anon", OLD)
    gfns = [APIC_ACCESS, VIRTUAL_APIC, EVMCS]
    gfns[missing] = 9  # in no memslot
    thread = memory.run(0, run_l2(memory.m, *gfns))
    assert (L2_RUN in thread.points) == (missing == 1)
    assert memory.final_violations() == (["lost-dirty-page"] if missing == 1 else [])


def test_an_enlightened_vmcs_that_was_never_there_is_released_with_impunity() -> None:
    for patch in ("vcpu-map-init-all-fields", "nvmx-evmcs-unmap-unconditional"):
        memory = logging("anon", Semantics(closure([patch])))
        for _ in range(2):
            nested_release_evmcs(memory.m, NestedMaps())
        assert memory.final_violations() == []
