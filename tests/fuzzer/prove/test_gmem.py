# SPDX-License-Identifier: GPL-2.0-only
"""The sweeps over a guest_memfd: what they go over, and that they see another page, another name, another count."""

from itertools import islice
from typing import Any

import pytest

from fuzzer.prove import gmem
from fuzzer.prove.gmem import FEW_GEOMETRIES, GEOMETRIES, INDEX, PAGE, STATES
from fuzzer.prove.prove import bases_of
from fuzzer.prove.sweep import Sweep
from reference_mmu.kvm import guest_memfd
from reference_mmu.kvm.guest_memfd import kvm_gmem_get_index, kvm_gmem_prepare_folio
from reference_mmu.x86.fault import kvm_mmu_faultin_pfn_private, kvm_mmu_finish_page_fault

ROWS = pytest.mark.parametrize(("row", "sweep"), [("gmem-pass-index", INDEX), ("gmem-return-struct-page", PAGE)])
CASES = 600


def differs(row: str, sweep: Sweep) -> bool:
    return any(case.before != case.after for case in islice(sweep.cases(bases_of(row)[0]), CASES))


# Accept.


@ROWS
def test_both_sides_are_alike_and_every_input_has_a_name(row: str, sweep: Sweep) -> None:
    cases = list(islice(sweep.cases(bases_of(row)[0]), CASES))
    assert all(case.before == case.after for case in cases)
    assert all(len(case.inputs) == len(sweep.inputs) for case in cases)
    assert {state for case in cases for state in case.inputs if state in STATES} == set(STATES)


def test_slots_begin_elsewhere_in_the_guest_and_in_the_file() -> None:
    for geometries in (GEOMETRIES, FEW_GEOMETRIES):
        assert any(each.base and each.pgoff and each.npages > 1 for each in geometries)


# Reject.


def test_an_index_without_the_offset_of_the_slot_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(slot: Any, gfn: Any) -> Any:
        return gfn - slot.base_gfn

    monkeypatch.setattr(gmem, "GEOMETRIES", (gmem.Geometry(2, 4, 2),))
    calls: list[bool] = []

    def index_of(slot: Any, gfn: Any) -> Any:
        calls.append(True)
        return off(slot, gfn) if len(calls) % 5 == 0 else kvm_gmem_get_index(slot, gfn)

    monkeypatch.setattr(guest_memfd, "kvm_gmem_get_index", index_of)
    assert differs("gmem-pass-index", INDEX)


@pytest.mark.parametrize("what", ["no page", "page on failure", "reference"])
def test_another_page_or_count_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(m: Any, slot: Any, fault: Any) -> Any:
        r = yield from kvm_mmu_faultin_pfn_private(m, slot, fault)
        if m.sem.gmem_return_struct_page:
            if what == "no page":
                fault.refcounted_page = -1
            elif what == "page on failure" and r < 0:
                fault.refcounted_page = 0
            elif what == "reference" and r >= 0:
                m.host.get(fault.pfn)
        return r

    monkeypatch.setattr(gmem, "kvm_mmu_faultin_pfn_private", broken)
    assert differs("gmem-return-struct-page", PAGE)


def test_a_page_that_is_not_let_go_of_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(m: Any, fault: Any, r: Any) -> None:
        if not m.sem.gmem_return_struct_page:
            kvm_mmu_finish_page_fault(m, fault, r)

    monkeypatch.setattr(gmem, "kvm_mmu_finish_page_fault", broken)
    assert differs("gmem-return-struct-page", PAGE)


def test_a_page_that_is_prepared_in_vain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []

    def at_random(gmem_file: Any, pfn: Any) -> Any:
        prepared.append(int(pfn))
        return kvm_gmem_prepare_folio(gmem_file, pfn) if len(prepared) % 3 else 0

    monkeypatch.setattr(guest_memfd, "kvm_gmem_prepare_folio", at_random)
    assert differs("gmem-pass-index", INDEX)
