# SPDX-License-Identifier: GPL-2.0-only
"""Which statements of a change are noted, and how."""

from textwrap import dedent

import pytest

from fuzzer.change.exercised import Place, places_of, with_notes

OLD = dedent('''\
    """A module."""

    from __future__ import annotations

    LIMIT = 4


    def zap(flush: bool, pages: list[int]) -> int:
        """Contract."""
        zapped = 0
        for page in pages:
            if page > LIMIT:
                zapped += page
                flush = True
        if flush:
            zapped += 1
        return zapped
    ''')
FILE = "x86/zap.py"


def noted(before: str, after: str) -> list[str]:
    """The lines of the changed module, those with a note in full, after the import."""
    assert OLD.count(before) == 1
    new = OLD.replace(before, after)
    text = with_notes({FILE: OLD}, {FILE: new})[FILE]
    assert len(text.split("\n")) == len(new.split("\n")), "all lines keep their numbers"
    return [line.strip() for line in text.split("\n") if "APPLIED.reached" in line]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        pytest.param("zapped = 0", "zapped = 1", ["APPLIED.reached(0); zapped = 1"], id="a statement"),
        pytest.param("if flush:", "if not flush:", ["if APPLIED.reached(0) and (not flush):"], id="a condition"),
        pytest.param(
            "if flush:\n        zapped += 1\n",
            "if flush:\n        zapped += 2\n    elif pages:\n        zapped = (0 +\n            1)\n",
            [
                "APPLIED.reached(0); zapped += 2",
                "elif APPLIED.reached(1) and (pages):",
                "APPLIED.reached(2); zapped = (0 +",
            ],
            id="another branch",
        ),
        pytest.param(
            "in pages:", "in pages[1:]:", ["if APPLIED.reached(0) and (page > LIMIT):"], id="a loop, by what is in it"
        ),
        pytest.param("            flush = True\n", "", ["APPLIED.reached(0); zapped += page"], id="gone from the end"),
        pytest.param("    zapped = 0\n", "", ["if APPLIED.reached(0) and (page > LIMIT):"], id="gone before a loop"),
        pytest.param(
            "    if flush:\n        zapped += 1\n", "", ["APPLIED.reached(0); return zapped"], id="a branch gone"
        ),
        pytest.param("LIMIT = 4", "LIMIT = 5", [], id="no part of a function"),
        pytest.param('"""Contract."""', '"""Another contract."""', [], id="a docstring"),
        pytest.param("zapped = 0", "zapped = 0  # none", ["APPLIED.reached(0); zapped = 0  # none"], id="a comment"),
    ],
)
def test_what_is_noted(before: str, after: str, lines: list[str]) -> None:
    assert noted(before, after) == lines


def test_places_are_those_of_the_new_sources_in_the_order_of_their_numbers() -> None:
    new = OLD.replace("zapped = 0", "zapped = 1").replace("if flush:", "if not flush:")
    assert places_of({FILE: OLD}, {FILE: new, "a.py": "def new() -> int:\n    return 1\n"}) == [
        Place("a.py", 2),
        Place(FILE, 10),
        Place(FILE, 15),
    ]
    assert str(Place(FILE, 10)) == "reference_mmu/x86/zap.py:10"


def test_the_import_takes_no_line_of_its_own_where_it_need_not() -> None:
    new = OLD.replace("zapped = 0", "zapped = 1")
    text = with_notes({FILE: OLD}, {FILE: new})[FILE]
    assert "from __future__ import annotations; from fuzzer.change.applied import APPLIED\n" in text
    assert with_notes({}, {"a.py": "def new() -> int:\n    return 1\n"})["a.py"] == (
        "from fuzzer.change.applied import APPLIED\ndef new() -> int:\n    APPLIED.reached(0); return 1\n"
    )


def test_what_is_no_python_is_left_to_whoever_loads_it() -> None:
    assert places_of({FILE: OLD}, {FILE: "def ("}) == []
    assert with_notes({FILE: OLD}, {FILE: "def ("}) == {FILE: "def ("}


def test_a_noted_module_does_what_it_did() -> None:
    new = OLD.replace("zapped = 0", "zapped = 1").replace("if flush:", "if not flush:")
    text = with_notes({FILE: OLD}, {FILE: new})[FILE]
    for flush in (True, False):
        for pages in ([], [9]):
            plain: dict[str, object] = {}
            watched: dict[str, object] = {}
            exec(new, plain)
            exec(text, watched)
            assert plain["zap"](flush, pages) == watched["zap"](flush, pages)  # type: ignore[operator]
