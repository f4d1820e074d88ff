# SPDX-License-Identifier: GPL-2.0-only
"""When a search asks its processes to end, and when it ends them."""

from cli.ending import Ending, words


def asked(*moments: float, interrupts: int = 0, pressing: int = 1, decided: bool = False) -> list[int]:
    """Of a search whose time is over after 100 seconds."""
    ending = Ending(100.0)
    return [ending.asked(now, interrupts, pressing, decided=decided) for now in moments]


def test_what_may_fail_a_search_has_more_time_than_what_does_not() -> None:
    assert asked(99.0, 100.0, 108.0, 109.0, 148.0, 149.0) == [0, 1, 1, 2, 2, 3]
    assert asked(99.0, 100.0, 108.0, 109.0, pressing=0) == [0, 1, 1, 3]


def test_whoever_presses_ctrl_c_does_not_wait_for_that() -> None:
    assert asked(5.0, interrupts=1) == [3]
    late = Ending(100.0)
    assert [late.asked(now, 0, 1) for now in (100.0, 109.0)] == [1, 2]
    assert late.asked(110.0, 1, 1) == 3


def test_a_regression_that_was_waited_for_decides_it() -> None:
    assert asked(5.0, 13.0, 14.0, decided=True) == [1, 1, 3]


def test_nobody_waits_for_ever() -> None:
    ending = Ending(100.0)
    stages = [(ending.asked(now, 0, 1), ending.is_over(now, 0)) for now in (101.0, 150.0, 170.0)]
    assert stages == [(1, False), (3, False), (3, False)]
    assert ending.is_over(171.0, 0)


def test_the_second_ctrl_c_ends_it_at_once() -> None:
    ending = Ending(100.0)
    assert ending.asked(5.0, 2, 0) == 3
    assert ending.is_over(5.0, 2)


def test_a_search_of_so_many_programs_has_no_such_end() -> None:
    ending = Ending(float("inf"))
    assert ending.asked(1e9, 0, 1) == 0
    assert not ending.is_over(1e9, 0)


def test_what_is_left_is_said() -> None:
    assert "7 findings that may fail the search are still made small" in words(2, 0, 7)
    assert words(3, 0, 7).endswith("are left as whole programs")
    assert [words(1, 0, 7), words(2, 0, 0), words(3, 1, 7)] == ["", "", ""]
