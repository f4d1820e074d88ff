# SPDX-License-Identifier: GPL-2.0-only
"""Few programs are judged, and their causes are those of all; `python -m tests.quality.causes` takes a hundred
thousand."""

from tests.changes import NO_FLUSH
from tests.quality.causes import Compared, Told, compare, judge_all

RARE = 5000


def test_old_against_new() -> None:
    """The seeds are fixed: the programs that are judged show every cause that these programs have."""
    compared = compare(judge_all("no-struct-page", "new", 200, 0))
    assert len(compared.all) > 20
    assert compared.judged.total() < compared.all.total() * 3 // 4
    assert compared.missed() == {}


def test_a_change_that_shows_in_many_programs() -> None:
    compared = compare(judge_all("new", "new", 120, 0, NO_FLUSH, "tdp"))
    assert len(compared.all) > 10
    assert compared.missed() == {}


def test_what_is_missed_is_told() -> None:
    compared = compare(iter([Told(True, "a", "documented"), Told(False, "b", "documented"), Told(False, "a", "x")]))
    assert compared == Compared(compared.all, compared.judged, {"a": "x", "b": "documented"})
    assert compared.missed() == {"b": 1}
    assert compared.bad(RARE, RARE) == []
    assert compared.bad(RARE - 1, RARE) == ["b"]
