# SPDX-License-Identifier: GPL-2.0-only
"""The sweeps over look-ups and releases: what they go over, and that they see what changes one."""

from itertools import islice
from typing import Any

import pytest

from fuzzer.prove import look_up
from fuzzer.prove.look_up import (
    ENTRY,
    FAST,
    FAULT,
    FOLLOW,
    PAGE,
    PAGE_TO_WRITE,
    PREFETCH,
    PTE_STATES,
    RELEASE,
    SLOTS,
    LookUpRig,
    PteState,
    places,
)
from fuzzer.prove.sweep import SemanticsPair, Sweep
from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.kvm.faultin import gfn_to_page
from reference_mmu.mm.host import PTE_BUSY, PTE_NONE
from reference_mmu.mm.vma import KINDS
from reference_mmu.x86.fault import __kvm_mmu_faultin_pfn as faultin
from tests.fuzzer.prove.test_prove import broken_with


def alone(patch: str) -> SemanticsPair:
    on = closure([patch])
    return SemanticsPair(Semantics(on - {patch}), Semantics(on))


# Accept.


@pytest.mark.parametrize("sweep", [PREFETCH, RELEASE, PAGE_TO_WRITE])
def test_a_kernel_does_what_it_does(sweep: Sweep) -> None:
    cases = list(sweep.cases(SemanticsPair(NEW, NEW)))
    assert len(cases) > 500
    assert all(case.before == case.after for case in cases)
    assert all(len(case.inputs) == len(sweep.inputs) for case in cases)


def test_every_kind_of_memory_state_and_slot_is_gone_over() -> None:
    everywhere = list(places())
    assert {kind for kind, _, _ in everywhere} == KINDS.keys()
    assert {slot for _, slot, _ in everywhere} == set(SLOTS)
    assert {state for _, _, state in everywhere} == set(PTE_STATES)


def test_states_are_told_apart_by_name() -> None:
    assert len({str(state) for state in PTE_STATES}) == len(PTE_STATES) == 22


def test_a_rig_forgets_the_last_case() -> None:
    rig = LookUpRig(NEW, "anon")
    rig.begin(PteState(PTE_BUSY), "killed")
    host = rig.begin(PteState("without VMA"))
    assert rig.m.mishaps == 0
    assert (host.pte[PAGE], host.vma_flags(PAGE)) == (PTE_NONE, 0)


# Reject.


@pytest.mark.parametrize(
    ("sweep", "patch"),
    [
        (FAULT, "gup-eagain-is-sigpending"),
        (FAULT, "gup-no-wait-error-code"),
        (FAULT, "gup-drop-extra-hwpoison-gup"),
        (FOLLOW, "mixedmap-no-refcount"),
        (FOLLOW, "introduce-kvm-follow-pfn"),
        (ENTRY, "gup-eagain-is-sigpending"),
        (PAGE_TO_WRITE, "mixedmap-no-refcount"),
        (PREFETCH, "x86-dirty-at-origin-of-make-spte"),
        (RELEASE, "x86-unused-faultin-not-accessed"),
        (RELEASE, "x86-dirty-at-origin-of-make-spte"),
    ],
)
def test_a_patch_that_changes_something_is_noticed(sweep: Sweep, patch: str) -> None:
    assert any(case.before != case.after for case in sweep.cases(alone(patch)))


@pytest.mark.parametrize("write", [False, True])
def test_a_reference_that_is_lost_is_noticed(write: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(m: Any, slot: Any, fault: Any) -> Any:
        if m.sem is NEW and fault.write == write:
            m.host.get(0)
        return faultin(m, slot, fault)

    monkeypatch.setattr(look_up, "x86_faultin", leaky)
    cases = islice(FAULT.cases(SemanticsPair(Semantics(NEW.patches), NEW)), 200)
    assert {case.inputs[3] for case in cases if case.before != case.after} == {write}


def test_what_looks_up_otherwise_after_the_series_shows() -> None:
    assert any(case.before != case.after for case in FOLLOW.cases(SemanticsPair(OLD, NEW)))


@pytest.mark.parametrize(
    ("sweep", "function", "patch"),
    [
        (FAST, "hva_to_pfn_fast", "gup-fast-single-page-pointer"),
        (ENTRY, "best_look_up", "add-kvm-faultin-pfn"),
    ],
)
def test_another_result_of_a_new_function_is_noticed(
    sweep: Sweep, function: str, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_up, function, broken_with(patch, getattr(look_up, function)))
    assert any(case.before != case.after for case in sweep.cases(alone(patch)))


def test_a_page_that_is_asked_for_to_be_read_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what the commit would do if gfn_to_page() handed on the wrong flag."""
    monkeypatch.setattr(look_up, "gfn_to_page", lambda m, slot, gfn, write: gfn_to_page(m, slot, gfn, False))
    differing = {
        case.inputs[0] for case in PAGE_TO_WRITE.cases(alone("gfn-to-page-read-only")) if case.before != case.after
    }
    assert {"cow", "ksm", "readonly"} <= differing
