# SPDX-License-Identifier: GPL-2.0-only
"""A merge is proven to be its rows, and a row too many, too few or out of place is noticed."""

from collections.abc import Iterator

import msgspec
import pytest

from fuzzer.prove import merge
from fuzzer.prove.merge import MERGE_SWEEPS, row_cases, source_cases
from fuzzer.prove.prove import bases_of
from fuzzer.prove.sweep import SemanticsPair
from reference_mmu.changelog.patches import PATCHES, SERIES

MERGE = "series-kvm-no-struct-page"


def sides() -> SemanticsPair:
    return bases_of(MERGE)[0]


def differing(base: str = "no-struct-page") -> list[object]:
    """The inputs on which the sides differ."""
    return [case.inputs[0] for case in row_cases(MERGE, base, sides()) if case.before != case.after]


# Accept.


def test_every_merge_of_the_catalogue_is_proven() -> None:
    assert [patch.id for patch in PATCHES.values() if patch.kind == "series"] == list(MERGE_SWEEPS)


def test_the_rows_are_the_merge() -> None:
    assert differing() == []
    asked = [case.inputs[0] for case in row_cases(MERGE, "no-struct-page", sides())]
    assert asked[0::2][: len(SERIES["no-struct-page"]) - 1] == list(SERIES["no-struct-page"][:-1])


def test_the_model_does_not_ask_for_the_merge() -> None:
    cases = list(source_cases(MERGE, sides()))
    assert len(cases) > 150
    assert all(case.before == case.after for case in cases)


# Reject.


def test_a_row_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        SERIES, "no-struct-page", tuple(row for row in SERIES["no-struct-page"] if row != "mips-faultin-pfn")
    )
    assert "what the rows add to the kernel before" in differing()


def test_a_row_that_comes_too_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in SERIES["no-struct-page"] if row != "gfn-to-page-read-only"]
    rows.insert(0, "gfn-to-page-read-only")
    monkeypatch.setitem(SERIES, "no-struct-page", tuple(rows))
    assert differing()[0] == "gfn-to-page-read-only"


def test_a_row_that_the_merge_does_not_need_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = tuple(row for row in PATCHES[MERGE].requires if row != "mixedmap-no-refcount")
    monkeypatch.setitem(PATCHES, MERGE, msgspec.structs.replace(PATCHES[MERGE], requires=requires))
    assert "a kernel without one row" in differing()


def test_another_kernel_is_not_what_was_merged() -> None:
    assert differing("new") == ["what the rows add to the kernel before", "what is left without the rows"]


def test_a_model_that_asks_for_the_merge_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def sources() -> Iterator[tuple[str, str]]:
        yield "a.py", "pass\n"
        yield "b.py", "if m.sem.series_kvm_no_struct_page:\n    f()\n"

    monkeypatch.setattr(merge, "model_sources", sources)
    assert [case.inputs[0] for case in source_cases(MERGE, sides()) if case.before != case.after] == ["b.py"]
