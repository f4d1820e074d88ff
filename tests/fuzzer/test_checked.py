# SPDX-License-Identifier: GPL-2.0-only
"""What is written down of each row of the changelog."""

import msgspec
import pytest

from fuzzer.checked import FILE, STATES, Checked, checked_rows, decode_checked, encode_checked, state_of, told
from fuzzer.oracle.invariants import INVARIANTS
from reference_mmu.changelog.effects import EFFECTS
from reference_mmu.changelog.patches import PATCHES, changes_nothing


def test_the_file_is_as_it_would_be_written() -> None:
    rows = checked_rows()
    assert encode_checked(rows) == FILE.read_bytes()
    assert decode_checked(encode_checked(rows)) == rows


@pytest.mark.parametrize("row", checked_rows().values(), ids=lambda row: row.patch)
def test_what_it_says_fits_the_catalogue(row: Checked) -> None:
    patch = PATCHES[row.patch]
    assert (row.outcome in ("proven", "not equivalent alone")) == changes_nothing(patch)
    assert row.level == patch.level
    assert set(row.effects) <= EFFECTS.keys() | INVARIANTS.keys()
    assert set(row.with_rows) <= PATCHES.keys() - {row.patch}
    assert bool(row.effects) == (row.outcome == "exposed")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Checked("a", "m", "exposed", programs=1, effects=("x", "y")), "exposed after 1 program: x, y"),
        (Checked("a", "m", "exposed", level="function", effects=("x",)), "exposed on the function alone: x"),
        (Checked("a", "m", "proven", cases=1200), "proven over 1 200 cases"),
        (Checked("a", "m", "not equivalent alone", cases=7, with_rows=("b",)), "not equivalent alone, only with b"),
        (
            Checked("a", "m", "not equivalent alone", cases=7),
            "not equivalent alone: the sides differ in the last of 7 cases",
        ),
        (Checked("a", "m", "no difference found", programs=2000), "no difference found in 2 000 programs"),
    ],
)
def test_a_row_is_told_with_its_numbers(row: Checked, words: str) -> None:
    assert told(row.outcome, row) == words


def test_what_is_not_modelled_is_told_so_whatever_was_once_seen() -> None:
    patch = msgspec.structs.replace(PATCHES["vmx-apic-page-hold-mmu-lock"], modelled=False)
    seen = Checked(patch.id, "m", "exposed")
    assert state_of(patch, 0, seen) == told("not modelled yet", seen) == "not modelled yet"
    modelled = PATCHES["age-elides-tlb-flush"]
    assert state_of(modelled, 2, None) == told("not checked yet", None) == "not checked yet"
    assert state_of(modelled, 0, None) == "missing"
    assert state_of(PATCHES["series-kvm-no-struct-page"], 0, None) == "not checked yet"
    assert len(set(STATES)) == 7
