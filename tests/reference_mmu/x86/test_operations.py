# SPDX-License-Identifier: GPL-2.0-only
"""Operations by number: each is a flow, and what a guest stores comes out as the entry that it is."""

import ast
import inspect
from collections.abc import Generator
from itertools import product
from typing import Final

import pytest

from reference_mmu import operations
from reference_mmu.operations import COLLAPSE, LOAD_CR3, READ, WRITE, ZAP_RANGE, Call
from reference_mmu.x86.operations import gpte_stored, start_operation
from reference_mmu.x86.shadow_mmu.gpte import make_gpte
from tests.by_hand import DEVICE, MM, Stage
from tests.guest_tables import DATA, LEAF, LEAF_PAGE, GuestStage, gpte

RIGHTS = (operations.STORED_WRITABLE, operations.STORED_EXECUTABLE, operations.STORED_ACCESSED, operations.STORED_DIRTY)


def declared() -> dict[str, int]:
    """NAME: Final = number, as written in the source."""
    found = {}
    for node in ast.parse(inspect.getsource(operations)).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int(number))):
                if not name.startswith(("STORED_", "MISHAP_")):
                    found[name] = number
    return found


KINDS: Final = declared()


def test_numbers_are_unique_and_without_a_gap() -> None:
    assert list(KINDS.values()) == list(range(len(KINDS)))
    assert len(KINDS) > 20


def test_those_of_vcpus_come_first_and_those_of_the_mm_next() -> None:
    """start_operation() tells them apart by that."""
    names = list(KINDS)
    assert (KINDS["READ"], KINDS["LOAD_CR3"], names.index("ZAP_RANGE")) == (0, LOAD_CR3, ZAP_RANGE)
    assert READ <= WRITE <= LOAD_CR3 < KINDS["CLEAR_FLUSH_YOUNG"] < COLLAPSE < KINDS["ENABLE_LOG"] < ZAP_RANGE


# What no machine of x86 does.
OF_OTHERS: Final = {"PATCH_DCBZ", "SHARE_PAGE", "RUN_VSIE", "COPY_TAGS", "FETCH"}


@pytest.mark.parametrize("kind", [KINDS[name] for name in KINDS if name not in OF_OTHERS])
def test_every_number_is_a_flow_of_its_own(kind: int) -> None:
    """Started, it has done nothing yet."""
    stage = Stage()
    flow = start_operation(stage.m, 0, Call(0, kind, 1, 1, 1))
    assert isinstance(flow, Generator)
    assert stage.m.observed.all_events() == Stage().m.observed.all_events()
    assert stage.violations == []
    flow.close()


def test_a_flow_does_what_its_operation_says() -> None:
    """The vCPU is the actor's; a range is its first page and how many there are."""
    stage = Stage()
    stage.run(1, start_operation(stage.m, 1, Call(0, WRITE, 1)))
    assert stage.cached(1, 1) != 0
    assert stage.m.x86_vcpus[0].root is None
    stage.run(1, start_operation(stage.m, 1, Call(1, WRITE, 2)))
    stage.run(1, start_operation(stage.m, 1, Call(2, WRITE, 3)))
    stage.run(DEVICE, start_operation(stage.m, DEVICE, Call(3, ZAP_RANGE, 2, 1)))
    assert [stage.level(gfn, vcpu=1) for gfn in (1, 2, 3)] == [1, 0, 1]
    stage.run(MM, start_operation(stage.m, MM, Call(4, KINDS["NUMA_HINT"], 1, 1)))
    assert [stage.level(gfn, vcpu=1) for gfn in (1, 2, 3)] == [0, 0, 1]
    assert stage.violations == []


def test_a_call_has_no_arguments_but_those_that_are_given() -> None:
    call = Call(3, READ)
    assert (call.uid, call.kind, call.a, call.b, call.c, call.resched) == (3, READ, 0, 0, 0, 0)


# --- the entry that a guest stores -----------------------------------------------------------------------------


@pytest.mark.parametrize("gfn", [0, 1, 5, 255])
def test_an_entry_is_its_frame_and_its_rights(gfn: int) -> None:
    for answers in product((False, True), repeat=len(RIGHTS)):
        rights = sum(int(right) for right, given in zip(RIGHTS, answers, strict=True) if given)
        assert gpte_stored((gfn + 1) << operations.STORED_SHIFT | rights) == make_gpte(gfn, *answers)


def test_rights_have_a_bit_each_below_the_frame() -> None:
    assert sum(RIGHTS) == (1 << operations.STORED_SHIFT) - 1
    assert sorted(int(right) for right in RIGHTS) == [1, 2, 4, 8]


def test_without_a_frame_nothing_is_present() -> None:
    for rights in range(1 << operations.STORED_SHIFT):
        assert gpte_stored(rights) == 0


@pytest.mark.parametrize(("stored", "expected"), [(8 << operations.STORED_SHIFT | sum(RIGHTS), gpte(7)), (0, 0)])
def test_it_reaches_the_guests_memory(stored: int, expected: int) -> None:
    stage = GuestStage()
    stage.run(0, start_operation(stage.m, 0, Call(0, KINDS["WRITE_PTE"], LEAF_PAGE, DATA, stored)))
    assert stage.word(LEAF, DATA) == expected
