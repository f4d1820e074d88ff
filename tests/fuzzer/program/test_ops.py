# SPDX-License-Identifier: GPL-2.0-only
"""Operations: named for ever, and every field an argument of a known type."""

from typing import get_args

import pytest

from fuzzer.program import ops
from fuzzer.program.arguments import SIMPLEST, Argument, Hva, arguments_of, values_of
from fuzzer.program.ops import (
    ALL_KINDS,
    ARGUMENTS,
    KINDS,
    Access,
    AnyOperation,
    AtAddress,
    OfAddresses,
    OfLog,
    Operation,
    Splitting,
    has,
    kind_named,
    range_of,
    tag,
)
from reference_mmu.config import Config, SlotConfig

# As stored programs have them: what stands here once is never renamed. New ones need not be added.
STORED = """
    read write prefetch nested write-pte invlpg load-cr3
    clear-flush-young clear-young test-young numa-hint migrate reclaim writeback share discard collapse-huge
    enable-log get-log clear-log disable-log delete-slot create-slot move-slot
    track untrack zap-range
"""


def test_the_name_of_an_operation_is_for_ever() -> None:
    assert set(STORED.split()) <= {tag(kind) for kind in ALL_KINDS}


def test_an_operation_is_found_by_its_name() -> None:
    assert all(kind_named(tag(kind)) is kind for kind in ALL_KINDS)
    assert kind_named("unmap") is None


def test_every_operation_is_in_a_union_and_all_that_are_defined_are_in_use() -> None:
    defined = {kind for kind in vars(ops).values() if isinstance(kind, type) and issubclass(kind, Operation)}
    bases = {Operation, Access, AtAddress, OfAddresses, OfLog, Splitting}
    assert defined - bases == set(ALL_KINDS) == set(get_args(AnyOperation))


def test_a_kind_of_actor_has_operations_of_its_own() -> None:
    assert sum(map(len, KINDS.values())) == len(set(ALL_KINDS))


def test_every_field_but_the_uid_is_an_argument() -> None:
    for kind in ALL_KINDS:
        assert ("uid", *ARGUMENTS[kind]) == kind.__struct_fields__


def test_a_field_without_a_type_is_named() -> None:
    class Unmap(Operation, frozen=True):
        hva: Hva
        how: int

    with pytest.raises(TypeError, match=r"^Unmap.how needs a type of fuzzer/program/arguments.py$"):
        arguments_of(Unmap)


@pytest.mark.parametrize("argument", Argument)
def test_every_argument_has_values_and_the_simplest_is_one(argument: Argument) -> None:
    values = values_of(argument, Config(slots=(SlotConfig(base=0, npages=8, hva=0, gmem=0),)))
    assert values
    assert SIMPLEST.get(argument, values[0]) in values


@pytest.mark.parametrize("argument", Argument)
def test_every_type_of_argument_is_in_use(argument: Argument) -> None:
    assert any(has(kind, argument) for kind in ALL_KINDS)


def test_a_range_is_told_from_a_single_page() -> None:
    assert range_of(ops.ClearYoung(0, 3, 4)) == ("hva", 4)
    assert range_of(ops.ClearLog(0, 1, 2, 3)) == ("first", 3)
    assert range_of(ops.TestYoung(0, 3)) == ("", 0)
    assert range_of(ops.Nested(0)) == ("", 0)
