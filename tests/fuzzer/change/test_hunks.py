# SPDX-License-Identifier: GPL-2.0-only
"""A change is taken apart where lines that it leaves alone are in between."""

import string

from fuzzer.change.hunks import HUNKS_MAX, hunks_of, with_hunks
from fuzzer.change.variant import Sides

OLD = "".join(f"{letter}\n" for letter in string.ascii_lowercase)


def sides(new: str, old: str = OLD) -> Sides:
    return Sides({"x86/a.py": old}, {"x86/a.py": new}, inside=False)


def test_lines_that_stay_part_a_change() -> None:
    changed = sides(OLD.replace("b\n", "B\n2\n").replace("d\n", "").replace("y\nz\n", "Y\nZ\n"))
    assert [str(hunk) for hunk in hunks_of(changed)] == [
        "reference_mmu/x86/a.py:2",
        "reference_mmu/x86/a.py:5",
        "reference_mmu/x86/a.py:25",
    ]


def test_the_parts_together_are_the_change_and_none_is_what_was_there() -> None:
    changed = sides(OLD.replace("b\n", "B\n2\n").replace("d\n", "").replace("y\nz\n", "Y\nZ\n"))
    hunks = hunks_of(changed)
    assert with_hunks(changed, hunks) == changed.new
    assert with_hunks(changed, []) == changed.old
    assert with_hunks(changed, hunks[1:2]) == {"x86/a.py": OLD.replace("d\n", "")}


def test_a_file_that_only_new_has_is_one_part() -> None:
    changed = Sides({}, {"x86/b.py": "a\nb\n"}, inside=False)
    (hunk,) = hunks_of(changed)
    assert str(hunk) == "reference_mmu/x86/b.py:1"
    assert with_hunks(changed, [hunk]) == changed.new
    assert with_hunks(changed, []) == {"x86/b.py": ""}


def test_what_would_be_too_many_parts_is_taken_apart_more_coarsely() -> None:
    numbers = range(40 * (HUNKS_MAX + 1))
    text = "".join(f"{number}\n" for number in numbers)
    for distance in (2, 40):
        changed = sides("".join(f"{number}{'' if number % distance else ' changed'}\n" for number in numbers), text)
        (all_of_it,) = hunks_of(changed)
        assert with_hunks(changed, [all_of_it]) == changed.new
