# SPDX-License-Identifier: GPL-2.0-only
"""The sweep over whoever looks a page up: what it goes over, and that it sees who asks in a way that is gone."""

import pytest

from fuzzer.program.ops import KINDS, tag
from fuzzer.prove import callers
from fuzzer.prove.callers import CALLERS, MACHINES, NO_SLOT, STATES, caller_cases, machine, operations
from fuzzer.prove.sweep import InputCase, SemanticsPair
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.patches import PATCHES, closure
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.mm.host import HOST_W
from tests.fuzzer.prove.test_prove import with_only


def differing(sides: SemanticsPair, *names: str) -> list[InputCase]:
    """What differs on these machines."""
    return [case for case in caller_cases(names, sides) if case.before != case.after]


@pytest.fixture(autouse=True)
def few_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is mapped, or none."""
    monkeypatch.setattr(callers, "STATES", tuple(state for state in STATES if state.flags in (0, HOST_W)))


# Accept.


def test_a_kernel_does_what_it_does() -> None:
    cases = list(caller_cases(("arm64", "book3s_pr"), SemanticsPair(NEW, NEW)))
    assert len(cases) > 500
    assert all(case.before == case.after for case in cases)
    assert all(len(case.inputs) == len(CALLERS.inputs) for case in cases)


def test_every_architecture_is_gone_over_and_every_operation_that_names_a_page() -> None:
    assert {machine(name, "anon", "none").architecture for name in MACHINES} == set(ARCHITECTURES)
    seen = {told.split()[0] for name in MACHINES for _, told, _ in operations(machine(name, "anon", "writable"), 0)}
    apart = {"write-pte", "invlpg", "load-cr3", "set-attributes"}  # of guests that none of these is
    named = {tag(kind) for actor in ("vcpu", "ioctl") for kind in KINDS[actor] if callers.names_a_page(kind)}
    assert seen == named - apart


def test_a_page_without_memslot_has_none() -> None:
    config = machine("arm64", "anon", "none")
    assert all(NO_SLOT not in range(slot.base, slot.base + slot.npages) for slot in config.slots)
    assert {call.a for _, _, call in operations(config, NO_SLOT)} == {NO_SLOT}


def test_who_is_converted_requires_what_he_calls_then() -> None:
    converted = [row for row in PATCHES if row.endswith("-faultin-pfn") and row != "add-kvm-faultin-pfn"]
    assert len(converted) > 8
    assert all("add-kvm-faultin-pfn" in closure([row]) for row in converted)


# Reject.


def test_a_handler_that_still_calls_what_is_gone_is_noticed() -> None:
    before = with_only(["drop-gfn-to-pfn"], off=["drop-gfn-to-pfn", "mips-faultin-pfn"])
    after = with_only(["drop-gfn-to-pfn"], off=["mips-faultin-pfn"])
    found = differing(SemanticsPair(before, after), "mips", "loongarch")
    assert {case.inputs[0] for case in found} == {"mips"}
    assert {case.inputs[4] for case in found} == {"read", "read upgrade_fails", "write"}


def test_a_handler_that_has_no_place_for_the_page_is_noticed() -> None:
    missing = ["mips-faultin-pfn", "drop-gfn-to-pfn"]
    before = with_only(["follow-pfn-refcounted-page-required"], off=["follow-pfn-refcounted-page-required", *missing])
    after = with_only(["follow-pfn-refcounted-page-required"], off=missing)
    found = differing(SemanticsPair(before, after), "mips", "loongarch")
    assert {case.inputs[0] for case in found} == {"mips"}
    assert {case.inputs[2] for case in found} == {"writable", "read-only"}


def test_the_series_shows() -> None:
    assert differing(SemanticsPair(OLD, NEW), "riscv")
    assert not differing(SemanticsPair(OLD, Semantics(OLD.patches)), "riscv")
