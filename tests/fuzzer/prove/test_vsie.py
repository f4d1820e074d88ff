# SPDX-License-Identifier: GPL-2.0-only
"""The sweep over pages that s390 pins: what it goes over, and that it sees an unpin that does something else."""

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import pytest

from fuzzer.prove import vsie
from fuzzer.prove.prove import bases_of
from fuzzer.prove.sweep import InputCase
from fuzzer.prove.vsie import PIN
from reference_mmu.kvm.kvm import Kvm
from reference_mmu.kvm.release import kvm_release_page_clean, kvm_set_page_accessed
from reference_mmu.s390.vsie import unpin_guest_page

ROW: Final = "s390-unpin-via-page"
CASES: Final = 400  # of memory of one kind in a writable slot, which can be pinned mapped


def differing() -> list[InputCase]:
    return [case for case in islice(PIN.cases(bases_of(ROW)[0]), CASES) if case.before != case.after]


# Accept.


def test_every_case_names_its_inputs_and_many_pin_a_page() -> None:
    cases = list(islice(PIN.cases(bases_of(ROW)[0]), CASES))
    assert all(len(case.inputs) == len(PIN.inputs) for case in cases)
    assert all(case.before == case.after for case in cases)
    pinned = [case for case in cases if isinstance(case.after, tuple) and case.after[1] >= 0]
    assert len(pinned) > CASES // 2


# Reject.


def put_twice(m: Kvm, gfn: int, hpa: int) -> None:
    m.kvm_put_page(hpa)


def clean(m: Kvm, gfn: int, hpa: int) -> None:
    m.host.get(hpa)
    kvm_release_page_clean(m, hpa)


def marked_again(m: Kvm, gfn: int, hpa: int) -> None:
    kvm_set_page_accessed(m, hpa)


def unlogged(m: Kvm, gfn: int, hpa: int) -> None:
    for slot in m.memslots:
        slot.log_dirty_pages = False


@pytest.mark.parametrize("more", [put_twice, clean, marked_again, unlogged])
def test_an_unpin_that_does_more_or_less_is_noticed(
    more: Callable[[Kvm, int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(m: Any, gfn: Any, hpa: Any) -> None:
        if m.sem.s390_unpin_via_page:
            more(m, gfn, hpa)
        unpin_guest_page(m, gfn, hpa)

    monkeypatch.setattr(vsie, "unpin_guest_page", broken)
    assert differing()
