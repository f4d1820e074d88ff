# SPDX-License-Identifier: GPL-2.0-only
"""Planted defects in every room: each breaks the invariant that names it in the program on record, its legal twins
break nothing, and all of them still fit the model."""

import ast

import pytest

from fuzzer.oracle.invariants import INVARIANTS
from tests.changes import shipped_source
from tests.quality.defects import FOLDER, Defect, defects

DEFECTS = defects()
# One of each room; the others are asked in the slow tests.
SAMPLE = frozenset(
    (
        "arm64-stale-check-dropped",
        "riscv-dirty-from-write",
        "loongarch-fast-log-bit",
        "mips-fast-marks-by-pfn",
        "radix-read-only-writable",
        "s390-block-stays-pinned",
        "vcpu-map-unpinned-after-mapping",
        "x86-unused-marked",
    )
)


def test_every_diff_is_in_the_table_and_every_row_has_one() -> None:
    assert [defect.name for defect in DEFECTS] == sorted(file.stem for file in FOLDER.iterdir())
    assert sum(bool(defect.breaks) for defect in DEFECTS) >= 30
    assert sum(not defect.breaks for defect in DEFECTS) >= 10
    assert {name for defect in DEFECTS for name in defect.breaks} <= INVARIANTS.keys()


def test_every_diff_applies_to_the_model() -> None:
    for defect in DEFECTS:
        for file, text in defect.sources().items():
            ast.parse(text)
            assert text != shipped_source(file)


@pytest.mark.parametrize("defect", [one for one in DEFECTS if one.name in SAMPLE], ids=lambda one: one.name)
def test_a_defect_of_each_room_breaks_what_it_should(defect: Defect) -> None:
    assert defect.shown() & {*defect.breaks}


@pytest.mark.slow
@pytest.mark.parametrize("defect", [one for one in DEFECTS if one.name not in SAMPLE], ids=lambda one: one.name)
def test_a_defect_breaks_what_it_should_and_a_twin_nothing(defect: Defect) -> None:
    shown = defect.shown()
    assert bool(shown & {*defect.breaks}) == bool(shown) == bool(defect.breaks)
