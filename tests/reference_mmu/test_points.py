# SPDX-License-Identifier: GPL-2.0-only
"""Points of every architecture: a row for each constant, and a patch for each that is private to one."""

from importlib import import_module

import pytest

from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.patches import PATCHES, PLACEBOS
from reference_mmu.points import PointTable

PRIVATE = {"x86": 12, "arm64": 6, "powerpc": 5, "riscv": 5, "loongarch": 7, "mips": 7, "s390": 2}
EVERY_ARCH = pytest.mark.parametrize("arch", ARCHITECTURES)


def table_of(arch: str) -> PointTable:
    table = import_module(f"reference_mmu.{arch}.points").POINTS
    assert isinstance(table, PointTable)
    return table


@EVERY_ARCH
def test_every_point_of_its_own_has_a_row_and_is_named_as_its_constant(arch: str) -> None:
    module = import_module(f"reference_mmu.{arch}.points")
    constants = {name: number for name, number in vars(module).items() if isinstance(number, int) and name.isupper()}
    own = {name: number for name, number in constants.items() if not name.startswith("WANT_")}
    named = {table_of(arch).numbers[name.lower().replace("_", ".", 1)] for name in own}
    assert named == set(own.values())
    assert len(named) > 1  # beside those that others share


@EVERY_ARCH
def test_private_points_name_a_patch(arch: str) -> None:
    private = [point.patch for point in table_of(arch).points if point.patch]
    assert len(private) == PRIVATE[arch]
    assert set(private) <= {*PATCHES, *PLACEBOS}
