# SPDX-License-Identifier: GPL-2.0-only
"""What waits to be judged comes in the order of severity, and cases of one invariant or effect in the order filed."""

import pytest

from fuzzer.judge.docket import Case, Docket, grade_of, is_judged
from fuzzer.judge.seen import Breach, Trace
from fuzzer.run.divergence import Divergence
from fuzzer.run.effort import Effort


def case(name: str, seed: int, round_: int = 0, grade: int = 3) -> Case:
    return Case(seed, Breach(name, "old"), Trace("violation", name, ("old",)), round_, grade)


def docket_of(*cases: Case) -> Docket:
    docket = Docket()
    for one in cases:
        docket.file(one)
    return docket


def order_of(docket: Docket) -> list[int]:
    return [docket.next().seed for _ in range(len(docket))]


def test_the_worst_comes_first_and_what_is_as_bad_as_it_came() -> None:
    docket = docket_of(case("a", 1), case("b", 2, grade=2), case("c", 3, grade=0), case("d", 4, grade=1), case("e", 5))
    assert order_of(docket) == [3, 4, 2, 1, 5]


def test_what_was_judged_before_waits_for_what_was_not() -> None:
    docket = docket_of(case("a", 1, grade=0))
    assert docket.next().seed == 1
    docket.file(case("a", 1, round_=4, grade=0))
    docket.file(case("b", 2))
    assert docket.has_unseen()
    assert docket.next().seed == 2
    assert not docket.has_unseen()
    assert docket.next().seed == 1


def test_cases_that_can_have_one_cause_stay_in_order() -> None:
    """The first of a cause is minimized, so it must not depend on how long anything waited."""
    docket = docket_of(case("a", 1), case("b", 2))
    assert order_of(docket) == [1, 2]
    for one in (case("a", 3, round_=3), case("b", 4, round_=1), case("a", 5)):
        docket.file(one)
    assert order_of(docket) == [3, 5, 4]


def test_further_traces_come_as_they_were_filed_after_what_is_news() -> None:
    docket = docket_of(case("a", 1, grade=0), case("a", 2, grade=0), case("b", 3, grade=1), case("b", 4), case("a", 5))
    assert order_of(docket) == [1, 3, 2, 4, 5]


def test_small_stories_are_told_between_the_new_and_the_known() -> None:
    docket = docket_of(case("b", 0))
    assert docket.next().seed == 0
    docket.file(case("a", 1))
    docket.file(case("b", 2, round_=1))
    docket.tell(case("c", 3), documented=True)
    docket.tell(case("d", 4), documented=False)
    assert order_of(docket) == [1, 4, 2, 3]


def test_what_presses_is_what_may_fail_a_search_and_has_no_small_story() -> None:
    docket = docket_of(case("a", 1), case("a", 2, round_=1))
    docket.tell(case("c", 3), documented=True)
    assert docket.pressing() == 0
    docket.tell(case("d", 4), documented=False)
    assert docket.pressing() == 1
    assert [docket.next().seed for _ in range(2)] == [1, 4]
    assert docket.pressing() == 0
    assert len(docket) == 2


def test_with_little_time_left_what_may_fail_a_search_is_told_first() -> None:
    docket = docket_of(case("a", 1), case("e", 6, grade=1), case("a", 2), case("e", 7, grade=1))
    docket.tell(case("b", 3), documented=False)
    assert [docket.next().seed for _ in range(2)] == [6, 1]
    docket.press()
    docket.tell(case("c", 4), documented=False)
    docket.tell(case("d", 5), documented=True)
    assert order_of(docket) == [3, 4, 7, 2, 5]


def test_nothing_is_taken_from_an_empty_docket() -> None:
    with pytest.raises(IndexError, match="nothing waits"):
        Docket().next()


def test_grades() -> None:
    allowed = {"fewer-flushes"}
    assert grade_of(Breach("stale-read", "new"), allowed) == 0
    assert grade_of(Divergence("memory-differs", 1), allowed) == 1
    assert grade_of(Breach("stale-read", "old"), allowed) == grade_of(Breach("stale-read", "both"), allowed) == 2
    assert grade_of(Divergence("fewer-flushes", 1), allowed) == 3


def test_the_same_trace_is_judged_ever_more_seldom() -> None:
    assert [n for n in range(1, 70) if is_judged("violation", n)] == [1, 2, 4, 8, 16, 32, 64]
    assert [n for n in range(1, 70) if is_judged("divergence", n)] == [1, 4, 16, 64]


def test_without_patience_nothing_waits() -> None:
    effort = Effort(0)
    effort.judged = 10**12
    assert effort.allows()


def test_judging_takes_its_share_after_a_head_start() -> None:
    effort = Effort(8)
    effort.searched = 1000
    effort.judged = 1000
    assert effort.allows()
    effort.judged = 1200
    assert not effort.allows()
    effort.searched = 70_000_000
    effort.judged = 11_600_001
    assert not effort.allows()
    effort.judged = 11_500_000
    assert effort.allows()
